"""Which sessions are bound to which instances, as far as gateways told. Times are monotonic seconds.

A session is as good as its instance: what is bound to one that ended counts for nothing, and is dropped in passing.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from sampan.model.affinity import Session
from sampan.model.names import InstanceId, VersionKey

MOST = 50_000
"""Sessions remembered, about 20 MB; beyond, those that were not used for longest are forgotten."""

EVERY = 5.0
"""Seconds between looks at all of them for those that are over; a look at the most there can be takes 20 ms."""

Key = tuple[VersionKey, str]


class SessionTable:
    """The sessions, the one used last at the end."""

    def __init__(self) -> None:
        self._bound: OrderedDict[Key, tuple[Session, float]] = OrderedDict()  # with the time at which it is over
        self._on: dict[InstanceId, set[Key]] = {}
        self._swept = 0.0

    def __len__(self) -> int:
        return len(self._bound)

    def __iter__(self) -> Iterator[Session]:
        return (session for session, _ in self._bound.values())

    def of(self, version: VersionKey, id_: str, now: float) -> Session | None:
        """The session, unless it is over."""
        session, until = self._bound.get((version, id_), (None, 0.0))
        return session if until > now else None

    def any_on(self, instance: InstanceId) -> bool:
        """Whether any was bound to an instance at the last look."""
        return instance in self._on

    def full(self, instance: InstanceId, most: int, now: float) -> bool:
        """Whether `most` sessions are bound to an instance."""
        there = self._on.get(instance, ())
        if len(there) >= most:
            for key in [key for key in there if self._bound[key][1] <= now]:
                self._drop(key)
        return len(there) >= most

    def put(self, session: Session, until: float) -> None:
        """It is so from now on."""
        key = session.version, session.id
        self._drop(key)
        self._bound[key] = session, until
        self._on.setdefault(session.instance, set()).add(key)
        if len(self._bound) > MOST:
            self._drop(next(iter(self._bound)))

    def sweep(self, now: float, lives: Callable[[InstanceId], bool]) -> None:
        """Forget what is over and what is bound to what is gone, every now and then."""
        if now - self._swept < EVERY:
            return
        self._swept = now
        gone = {instance for instance in self._on if not lives(instance)}
        for key, (session, until) in list(self._bound.items()):
            if until <= now or session.instance in gone:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        if (found := self._bound.pop(key, None)) is not None:
            instance = found[0].instance
            self._on[instance].discard(key)
            if not self._on[instance]:
                del self._on[instance]

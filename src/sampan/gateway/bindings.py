"""Which instance each session is bound to. Times are of the loop's clock; no I/O, nobody is told."""

from collections import OrderedDict
from dataclasses import dataclass

from sampan.model.names import InstanceId, VersionKey

MOST = 50_000
"""Sessions remembered, about 25 MB; beyond, those that were not used for longest are forgotten."""

KEPT = 21600.0
"""Seconds for which the id of a session that is over is remembered where it may not be used again."""

Key = tuple[VersionKey, str]


@dataclass(slots=True, eq=False)
class Binding:
    """One session of a version."""

    key: Key
    begun: float
    until: float  # it is over, unless used again before
    instance: InstanceId | None = None  # None: that is gone, or the session is over
    reuse: bool = True  # whether its id may begin a new session
    busy: int = 0  # requests of it that are under way here
    told: float = 0.0  # the `until` that the others know


class Bindings:
    """The sessions, the one used last at the end."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._all: OrderedDict[Key, Binding] = OrderedDict()
        self._on: dict[InstanceId, dict[Key, Binding]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def live(self, key: Key, now: float) -> Binding | None:
        """The session, unless it is over. Its instance may be gone."""
        binding = self._all.get(key)
        return binding if binding is not None and binding.until > now else None

    def all_live(self, now: float) -> list[Binding]:
        return [binding for binding in self._all.values() if binding.until > now and binding.instance is not None]

    def is_over(self, key: Key, now: float) -> bool:
        """Whether it is known that there was such a session."""
        binding = self._all.get(key)
        return binding is not None and binding.until <= now

    def bind(self, key: Key, instance: InstanceId, now: float) -> Binding:
        """To where its request landed. A session that lost its instance goes on; one that is over begins anew."""
        binding = self.live(key, now)
        if binding is None:
            self._drop(key)
            self._make_room(now)
            binding = self._all[key] = Binding(key, now, now)
        self.move(binding, instance)
        return binding

    def move(self, binding: Binding, instance: InstanceId | None) -> None:
        """It is there from now on."""
        if binding.instance is not None:
            there = self._on.get(binding.instance, {})
            there.pop(binding.key, None)
            if not there:
                self._on.pop(binding.instance, None)
        binding.instance = instance
        if instance is not None:
            self._on.setdefault(instance, {})[binding.key] = binding

    def use(self, binding: Binding) -> None:
        if binding.key in self._all:  # else it was forgotten to make room
            self._all.move_to_end(binding.key)

    def count(self, instance: InstanceId, now: float) -> int:
        """How many sessions are bound to it and not over."""
        there = self._on.get(instance)
        if there is None:
            return 0
        for binding in [binding for binding in there.values() if binding.until <= now]:
            self.move(binding, None)
        return len(there)

    def vanish(self, instance: InstanceId) -> None:
        """It is gone; its sessions will be bound anew."""
        for binding in self._on.pop(instance, {}).values():
            binding.instance = None

    def _make_room(self, now: float) -> None:
        """Forget what is over and was used before all others, a little at a time; and the oldest when full."""
        for _ in range(2):
            oldest = next(iter(self._all.values()), None)
            if oldest is None:
                return
            over = oldest.until + (0 if oldest.reuse else KEPT) <= now
            if not over and len(self._all) < self._most:
                return
            self._drop(oldest.key)

    def _drop(self, key: Key) -> None:
        if (binding := self._all.pop(key, None)) is not None:
            self.move(binding, None)

"""Requests of one session go to one instance, whichever gateway they come to.

A session without an instance takes a slot like any request, where there is room for one more session, and is bound
to where it landed; from then on its requests wait for that instance. What is bound is claimed at control before the
first request goes on: of two gateways that bind the same session, the one that spoke first is right. Control tells
all gateways; while it is away, each goes by what it knows.
"""

import asyncio
import time
from collections.abc import Callable
from types import TracebackType

from sampan.gateway import affinity
from sampan.gateway.bindings import Binding, Bindings, Key
from sampan.gateway.exchange import Exchange
from sampan.gateway.instance import Slot
from sampan.gateway.leases import Leases
from sampan.gateway.picky import Vanished
from sampan.gateway.refusals import too_long, too_many
from sampan.gateway.route import Endpoint, Served
from sampan.gateway.story import within
from sampan.link.messages import ServedVersion, Up
from sampan.link.messages import Sessions as Told
from sampan.model.affinity import Affinity, AffinityKind, Session
from sampan.model.names import InstanceId

ANSWER = (
    0.5  # seconds that control is given to confirm a new session, the shortest of which lasts one; it takes < 1 ms
)
PULSE = 0.5  # seconds; within them it is noticed that a session is over and makes room, or must be said to live on
MOMENT = 0.1  # seconds that are not worth a message
FRESH = 0.25  # of the idle time by which a session must have got older before the others are told of its use


class Opening:
    """A session that has no instance yet, while its first request looks for one."""

    __slots__ = ("_sessions", "affinity", "done", "followers", "reserved", "version")

    def __init__(self, sessions: "Sessions", version: ServedVersion, asked: Affinity) -> None:
        self._sessions, self.version, self.affinity = sessions, version, asked
        self.done = asyncio.Event()
        self.followers = 0  # further requests of the session, which wait for the first
        self.reserved: InstanceId | None = None

    def __call__(self, instance: InstanceId) -> bool:
        """Whether the instance has room for a session; then a place is kept, for the slot in it is ours."""
        if self._sessions.count(instance) >= self.affinity.per_instance:
            return False
        self.reserved = instance
        self._sessions.reserve(instance)
        return True


class SessionSlot(Slot):
    """A slot for a request of a session, which does not rest while it runs."""

    __slots__ = ("_binding", "_sessions", "_version")

    def __init__(self, slot: Slot, sessions: "Sessions", binding: Binding, version: ServedVersion) -> None:
        super().__init__(slot._leases, slot.instance, slot.cold)
        self._sessions, self._binding, self._version = sessions, binding, version

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, at)
        self._sessions.ended(self._binding, self._version)


class Sessions:
    """The sessions of one gateway. `send` says something to control; `connected`: would it hear?"""

    def __init__(
        self, leases: Leases, send: Callable[[Up], None], connected: Callable[[], bool], queue_length: int
    ) -> None:
        """queue_length: requests that may wait for one session to get an instance."""
        self._leases, self._send, self._connected, self._queue_length = leases, send, connected, queue_length
        self._loop = asyncio.get_running_loop()
        self._bindings = Bindings()
        self._openings: dict[Key, Opening] = {}
        self._reserved: dict[InstanceId, int] = {}
        self._claims: dict[Key, asyncio.Event] = {}
        self._busy: dict[Binding, Affinity] = {}
        self._pulse: asyncio.TimerHandle | None = None
        leases.on_vanished = self._bindings.vanish

    # ── for exchanges ──

    def of(
        self, exchange: Exchange, endpoint: Endpoint, served: Served, cookies: bool
    ) -> tuple[Served, str | None]:
        """The version to serve a request and its session's id; None: it has none and is given none.

        A session that an alias drew a version for stays with it as long as the alias leads there.
        cookies: whether the caller can be expected to keep one.  Raises: InvalidArgument.
        """
        asked = served.version.affinity
        assert asked is not None
        id_, now = affinity.told(exchange, asked), self._loop.time()
        if id_ is None:
            if asked.kind is AffinityKind.COOKIE and not cookies:
                return served, None
            return served, affinity.begin(exchange, asked)
        if len(endpoint.served) > 1:
            for one in endpoint.served:
                if one.version.affinity is not None and self._bindings.live((one.version.key, id_), now):
                    return one, id_
        if not asked.reuse and self._bindings.is_over((served.version.key, id_), now):
            if asked.kind is AffinityKind.HEADER:
                raise affinity.over(asked, id_)
            id_ = affinity.begin(exchange, asked)
        return served, id_

    async def slot(self, exchange: Exchange, version: ServedVersion, id_: str) -> Slot:
        """A slot in the session's instance, in turn. Raises: as `Leases.wait`."""
        asked = version.affinity
        assert asked is not None
        exchange.deadline = deadline = exchange.deadline or self._loop.time() + version.queue_wait
        key = (version.key, id_)
        slot: Slot | None
        while True:
            if (opening := self._openings.get(key)) is not None:
                await self._follow(opening, deadline)
                continue
            binding = self._bindings.live(key, self._loop.time())
            if binding is None or binding.instance is None:
                slot = await self._open(key, version, asked, deadline)
            else:
                slot = await self._in(version, binding.instance, deadline)
            binding = self._bindings.live(key, self._loop.time())
            if slot is None:
                continue
            if binding is not None and binding.instance == slot.instance.grant.instance:
                return self._begin(slot, binding, version, asked)
            slot.__exit__(None, None, None)  # it moved meanwhile

    async def _in(self, version: ServedVersion, instance: InstanceId, deadline: float) -> Slot | None:
        """A slot in this very instance; None: it is gone."""
        try:
            return self._leases.take_fitting(version, instance) or await self._leases.wait(
                version, deadline, instance
            )
        except Vanished:
            self._bindings.vanish(instance)
            return None

    async def _follow(self, opening: Opening, deadline: float) -> None:
        """Wait until the session has an instance, or the request that looked for one got none."""
        if opening.followers >= self._queue_length:
            raise too_many(opening.version, opening.followers)
        opening.followers += 1
        try:
            await within(deadline - self._loop.time(), opening.done.wait())
        except TimeoutError:
            raise too_long(opening.version) from None
        finally:
            opening.followers -= 1

    async def _open(self, key: Key, version: ServedVersion, asked: Affinity, deadline: float) -> Slot:
        """A slot where there is room for the session, which is then bound there, unless it is elsewhere."""
        opening = self._openings[key] = Opening(self, version, asked)
        self._beat()
        try:
            slot = self._leases.take_fitting(version, opening) or await self._leases.wait(
                version, deadline, opening
            )
            try:
                await self._claim(key, slot.instance.grant.instance, asked)
            except BaseException:
                slot.__exit__(None, None, None)
                raise
            return slot
        finally:
            del self._openings[key]
            opening.done.set()
            if opening.reserved is not None:
                self._release(opening.reserved)
                self._leases.serve(version.key)

    async def _claim(self, key: Key, instance: InstanceId, asked: Affinity) -> None:
        """Bind a session to this instance, unless another gateway was first."""
        now = self._loop.time()
        binding = self._bindings.live(key, now)
        if binding is not None and binding.instance not in (None, instance):
            return  # heard while we waited for a slot
        binding = self._bindings.bind(key, instance, now)
        binding.reuse = asked.reuse
        self._prolong(binding, asked)
        if self._connected():
            answered = self._claims[key] = asyncio.Event()
            self._tell(binding)
            try:
                await within(ANSWER, answered.wait())
            except TimeoutError:
                pass  # control has other worries; it will be told again
            finally:
                del self._claims[key]

    # ── use ──

    def _begin(self, slot: Slot, binding: Binding, version: ServedVersion, asked: Affinity) -> Slot:
        binding.busy += 1
        self._busy[binding] = asked
        self._bindings.use(binding)
        self._prolong(binding, asked)
        self._tell_if_due(binding, asked)
        self._beat()
        return SessionSlot(slot, self, binding, version)

    def ended(self, binding: Binding, version: ServedVersion) -> None:
        """One request of the session less; if it was the last, the session rests."""
        asked = version.affinity
        assert asked is not None
        binding.busy -= 1
        if not binding.busy:
            self._busy.pop(binding, None)
        if binding.until > self._loop.time():
            self._prolong(binding, asked)
            self._tell_if_due(binding, asked)

    def _prolong(self, binding: Binding, asked: Affinity) -> None:
        """It was used just now."""
        hard = binding.begun + asked.ttl
        binding.until = min(hard, self._loop.time() + asked.idle) if asked.idle and not binding.busy else hard

    def _tell_if_due(self, binding: Binding, asked: Affinity) -> None:
        """Others judge by themselves when a session is over; they are told of its use, but not of each."""
        until = self._resting(binding, asked)
        if binding.instance is not None and until - binding.told > max(asked.idle * FRESH, MOMENT):
            self._tell(binding, until)

    def _resting(self, binding: Binding, asked: Affinity) -> float:
        """When it will be over unless it is used again."""
        hard = binding.begun + asked.ttl
        return min(hard, self._loop.time() + asked.idle) if asked.idle else hard

    def _beat(self) -> None:
        if self._pulse is None:
            self._pulse = self._loop.call_later(PULSE, self._beaten)

    def _beaten(self) -> None:
        self._pulse = None
        for binding, asked in self._busy.items():
            self._tell_if_due(binding, asked)
        for version in {opening.version.key for opening in self._openings.values()}:
            self._leases.serve(version)  # sessions that are over may have made room
        if self._busy or self._openings:
            self._beat()

    # ── room ──

    def count(self, instance: InstanceId) -> int:
        """Sessions in an instance, and on their way there."""
        return self._bindings.count(instance, self._loop.time()) + self._reserved.get(instance, 0)

    def reserve(self, instance: InstanceId) -> None:
        self._reserved[instance] = self._reserved.get(instance, 0) + 1

    def _release(self, instance: InstanceId) -> None:
        self._reserved[instance] -= 1
        if not self._reserved[instance]:
            del self._reserved[instance]

    # ── from and to control ──

    def hear(self, told: Told) -> None:
        """So it is."""
        now, clock = self._loop.time(), time.time_ns()
        for session in told.sessions:
            key, until = (session.version, session.id), now + (session.until - clock) / 1e9
            known = self._bindings.live(key, now)
            moved = known is None or known.instance != session.instance
            binding = self._bindings.bind(key, session.instance, now) if moved or known is None else known
            binding.begun = now + (session.begun - clock) / 1e9
            binding.until = until if moved else max(binding.until, until)
            binding.told = until
            if (claim := self._claims.get(key)) is not None:
                claim.set()

    def reconnected(self) -> None:
        """Control is there (again): it may have forgotten everything."""
        if live := self._bindings.all_live(self._loop.time()):
            self._send(Told(tuple(self._session(binding, binding.until) for binding in live)))

    def _tell(self, binding: Binding, until: float | None = None) -> None:
        until = binding.until if until is None else until
        binding.told = until
        self._send(Told((self._session(binding, until),)))

    def _session(self, binding: Binding, until: float) -> Session:
        assert binding.instance is not None
        now, clock = self._loop.time(), time.time_ns()
        version, id_ = binding.key
        begun = clock + int((binding.begun - now) * 1e9)
        return Session(version, id_, binding.instance, begun, clock + int((until - now) * 1e9))

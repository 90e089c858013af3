"""The instances this gateway may use, their free slots, and who waits for one.

A free slot and a waiter never exist side by side: a slot that becomes free, by a grant or by an exchange that
ends, goes to the oldest waiter at once. What control must know is said as statements about the present: wants are
absolute counts, gathered over one turn of the loop.
"""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from sampan.gateway.instance import Holder, Instance, Slot
from sampan.gateway.known import answer_heads
from sampan.gateway.picky import Fit, Picky, Vanished, choose
from sampan.gateway.refusals import expire, refused, too_many, too_many_in_all
from sampan.gateway.story import within
from sampan.link.messages import GiveBack, Gone, Grant, Look, Lost, Opened, Refuse, Revoke, Seen, Up, Want
from sampan.link.messages import ServedVersion as Version
from sampan.link.readiness import Doors
from sampan.link.reports import Gauge
from sampan.model.errors import Failure
from sampan.model.names import InstanceId, VersionKey, split_version_key

VERDICT = 1.0  # seconds that control is given to tell how an instance ended; it takes some milliseconds
REMEMBERED = 600.0  # seconds that a version is remembered to which no route leads any more
DEFAULT_FREEZE_DELAY = 1.0  # seconds, for an instance of a version that has no route (any more)

_now: Final = time.time_ns  # looked up by their names each time, otherwise
_next: Final = next
_reversed: Final = reversed

_Told = tuple[int, int, tuple[InstanceId, ...]]  # waiting for any slot, slots seen, instances waited for


class _Pool:
    """One version's instances with free slots, and its waiters."""

    __slots__ = ("free", "picky", "seen", "told", "unrouted", "waiters")

    def __init__(self) -> None:
        self.free: OrderedDict[InstanceId, Instance] = OrderedDict()  # most recently used last
        self.waiters: dict[asyncio.Future[Slot], int] = {}  # → since, Unix ns; oldest first
        self.picky: Picky[Slot] | None = None  # those of the waiters that cannot take just any slot
        self.seen = 0  # slots granted on this connection to control
        self.told: _Told = (0, 0, ())  # as control last heard
        self.unrouted = math.inf  # since when no route leads to the version, of the loop's clock


class Leases(Holder):
    """All leases of one gateway. `send` says something to control; `connected`: would it hear?"""

    def __init__(
        self,
        send: Callable[[Up], None],
        connected: Callable[[], bool],
        queue_length: int,
        header_limit: int,
        queue_total: int = 1 << 30,
        flush_window: float = 0.0,
    ) -> None:
        """queue_length: requests that may wait per function; queue_total: in all.

        flush_window: seconds, at least, that an instance is kept awake after a request that it may report spans of.
        """
        self._flush_window = flush_window
        self._send, self._connected = send, connected
        self._queue_length, self._queue_total, self._header_limit = queue_length, queue_total, header_limit
        self._waiting_all = 0
        self._loop = asyncio.get_running_loop()
        self._heads = answer_heads()
        self._doors = Doors()
        self._instances: dict[InstanceId, Instance] = {}
        self._pools: dict[VersionKey, _Pool] = {}
        self._waiting: dict[str, int] = {}  # function → waiters
        self._delays: dict[VersionKey, float] = {}
        self._to_say: set[VersionKey] = set()
        self._unsaid: list[Lost | GiveBack] = []  # while control was away
        self.on_opened: Callable[[Opened], None] = lambda opened: None
        self.on_vanished: Callable[[InstanceId], None] = lambda instance: None

    # ── for exchanges ──

    def take(self, version: VersionKey) -> Slot | None:
        """A slot that is free now, of the instance used last."""
        pool = self._pools.get(version)
        if pool is None or not pool.free:
            return None
        return Slot(self, self._occupy(pool, _next(_reversed(pool.free.values()))), cold=False)

    def take_fitting(self, version: Version, fit: Fit) -> Slot | None:
        """A slot that is free now and will do."""
        pool = self._pools.get(version.key)
        instance = choose(fit, pool.free) if pool is not None else None
        return None if pool is None or instance is None else Slot(self, self._occupy(pool, instance), cold=False)

    async def wait(self, version: Version, deadline: float, fit: Fit | None = None) -> Slot:
        """The next slot (that will do), in turn. deadline: of the loop's clock.

        Raises: Throttled (too many wait), NoCapacity (waited too long), or what control refuses with; Vanished.
        """
        loop = self._loop
        function = version.function
        if self._waiting.get(function, 0) >= self._queue_length:
            raise too_many(version, self._queue_length)
        if self._waiting_all >= self._queue_total:
            raise too_many_in_all(self._queue_total)
        pool = self._pool(version.key)
        waiter: asyncio.Future[Slot] = loop.create_future()
        pool.waiters[waiter] = time.time_ns()
        if fit is not None:
            pool.picky = pool.picky or Picky()
            pool.picky.add(waiter, fit)
        self._waiting[function] = self._waiting.get(function, 0) + 1
        self._waiting_all += 1
        self._say(version.key)
        timer = loop.call_at(deadline, expire, waiter, version)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.release(waiter.result().instance)  # given in the very turn in which we were cancelled
            raise
        finally:
            timer.cancel()
            if waiter in pool.waiters:
                self._unqueue(pool, waiter)
                self._say(version.key)
            self._waiting_all -= 1
            self._waiting[function] -= 1
            if not self._waiting[function]:
                del self._waiting[function]

    def release(self, instance: Instance) -> None:
        """One request less in it."""
        instance.busy -= 1
        instance.last_used = _now()
        if instance.leaving:
            if not instance.busy:
                self._let_go(instance)
            return
        pool = self._pool(instance.version)
        if instance.busy < instance.slots:  # not so after a grant of fewer slots than are in use
            pool.free[instance.id] = instance
            pool.free.move_to_end(instance.id)
            if pool.waiters:
                self._serve_waiters(pool)
        if not instance.busy:
            self._rest(instance)

    def lose(self, instance: Instance, why: str, replace: bool = False) -> None:
        """It did not accept, broke its connection, or (replace) must not serve again."""
        if instance.lost:
            return
        self._retire(instance)
        instance.lost = True
        self._vanish(instance.id)
        lost = Lost(instance.id, why, replace)
        if self._connected():
            self._send(lost)
        else:
            self._unsaid.append(lost)

    async def verdict(self, instance: Instance) -> Failure | None:
        """How an instance that was lost ended by itself; None: it did not, or nobody tells in time."""
        if self._connected():
            with suppress(TimeoutError):
                await within(VERDICT, instance.ended.wait())
        return instance.failure

    # ── from control ──

    def learn(self, delays: dict[VersionKey, float]) -> None:
        """delays: seconds of idleness before an instance of a version is given back."""
        self._delays = delays
        for instance in self._instances.values():
            instance.freeze_delay = delays.get(instance.version, instance.freeze_delay)
        self._forget_unrouted()

    def _forget_unrouted(self) -> None:
        """Every update makes a version; those that went are not kept for ever.

        Not at once: a request that was routed before may still come to wait, and control counts the grants on this
        connection, so `seen` must not begin anew while it might.
        """
        now = self._loop.time()
        held = {instance.version for instance in self._instances.values()}
        for key, pool in list(self._pools.items()):
            pool.unrouted = math.inf if key in self._delays else min(pool.unrouted, now)
            in_use = pool.waiters or key in held or key in self._to_say
            if now - pool.unrouted >= REMEMBERED and not in_use:
                del self._pools[key]

    def grant(self, grant: Grant) -> None:
        instance = self._instances.get(grant.instance)
        if instance is None:
            delay = self._delays.get(grant.version, DEFAULT_FREEZE_DELAY)
            instance = self._instances[grant.instance] = Instance(grant, delay, self._header_limit, self._heads)
        else:
            instance.grant, instance.slots = grant, grant.slots
            instance.leaving = instance.lost = False
        if grant.opening:
            instance.unseen = grant.slots
            instance.opening = self._loop.create_task(self._open(instance))
        else:
            self._pool(grant.version).seen += grant.slots
            self._ready(instance)

    async def _open(self, instance: Instance) -> None:
        """Its slots are free as soon as its port accepts. Should it never: `gone` ends the wait, or a restart."""
        await instance.upstream.open(self._doors)
        instance.opening = None
        self._see(instance)
        self._ready(instance)

    def _see(self, instance: Instance) -> None:
        """Its slots came, or will not: control need not reckon with them as on their way any more."""
        self._pool(instance.version).seen += instance.unseen
        instance.unseen = 0
        self._say(instance.version)

    def saw(self, look: Look) -> None:
        """Say whether an instance's port has accepted. What is here no more was used, then lost or given back."""
        instance = self._instances.get(look.instance)
        self._send(Seen(look.instance, instance is None or instance.opening is None))

    def opened(self, opened: Opened) -> None:
        if (instance := self._instances.get(opened.instance)) is not None:
            instance.startup = opened.startup
            self.on_opened(opened)

    def _ready(self, instance: Instance) -> None:
        """What was granted can be used."""
        grant = instance.grant
        pool = self._pool(grant.version)
        if instance.busy < instance.slots:
            pool.free[grant.instance] = instance
            self._serve_waiters(pool, cold=grant.cold)
        else:
            pool.free.pop(grant.instance, None)
        if not instance.busy:
            self._rest(instance)
        self._say(grant.version)

    def revoke(self, revoke: Revoke) -> None:
        if (instance := self._instances.get(revoke.instance)) is not None:
            self._retire(instance)
            if revoke.for_good:
                self._vanish(revoke.instance)
            if not instance.busy:
                self._let_go(instance)

    def gone(self, gone: Gone) -> None:
        """Requests in it fail now: a sandbox's network may vanish without a word to our sockets."""
        if (instance := self._instances.get(gone.instance)) is not None:
            self._retire(instance)
            instance.lost, instance.failure = True, gone.failure
            instance.ended.set()
            instance.upstream.close()
            if not instance.busy:
                self._let_go(instance)
        self._vanish(gone.instance)

    def serve(self, version: VersionKey) -> None:
        """What will do for those who wait may have changed."""
        if (pool := self._pools.get(version)) is not None:
            self._serve_waiters(pool)

    def refuse(self, refuse: Refuse) -> None:
        pool = self._pool(refuse.version)
        picky = pool.picky  # who waits for a certain instance goes on: that is there
        for waiter in [one for one in pool.waiters if picky is None or not picky.waits_for_one(one)]:
            if not waiter.done():
                waiter.set_exception(refused(refuse))
            self._unqueue(pool, waiter)
        pool.told = (-1, -1, ())
        self._say(refuse.version)

    def held(self) -> tuple[Grant, ...]:
        """Also those that drain: requests are in them, so nobody may freeze or end them yet."""
        return tuple(instance.grant for instance in self._instances.values() if not instance.lost)

    def gauges(self) -> tuple[Gauge, ...]:
        """Per function what is in instances and what waits now."""
        active: dict[str, int] = {}
        for instance in self._instances.values():
            if instance.busy:
                function = split_version_key(instance.version)[0]
                active[function] = active.get(function, 0) + instance.busy
        functions = sorted(active.keys() | self._waiting.keys())
        return tuple(Gauge(each, active.get(each, 0), self._waiting.get(each, 0)) for each in functions)

    def hello(self) -> tuple[Grant, ...]:
        """As `held`, for control to hear: what was given back before is not among them, and need not be said."""
        self._unsaid = [message for message in self._unsaid if type(message) is Lost]
        return self.held()

    def reconnected(self) -> None:
        """Control is there (again) and knows which leases are held: say what it cannot know yet."""
        for message in self._unsaid:
            self._send(message)
        self._unsaid.clear()
        for instance in self._instances.values():
            instance.unseen = 0  # granted on the connection that is gone
        for key, pool in self._pools.items():
            pool.seen, pool.told = 0, (0, 0, ())
            if pool.waiters:
                self._say(key)

    def close(self) -> None:
        """Give everything back; for the end of the gateway."""
        for instance in list(self._instances.values()):
            self._retire(instance)
            instance.busy = 0
            self._let_go(instance)

    # ── inside ──

    def _pool(self, key: VersionKey) -> _Pool:
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = _Pool()
        return pool

    def _occupy(self, pool: _Pool, instance: Instance) -> Instance:
        instance.busy += 1
        if instance.busy >= instance.slots:
            del pool.free[instance.id]
        return instance

    def _serve_waiters(self, pool: _Pool, cold: bool = False) -> None:
        """Give free slots to the oldest waiters."""
        if pool.picky is not None and pool.picky.fits:
            self._serve_picky(pool, pool.picky, cold)
            return
        while pool.free and pool.waiters:
            waiter = next(iter(pool.waiters))
            del pool.waiters[waiter]
            if waiter.done():
                continue
            instance = self._occupy(pool, next(reversed(pool.free.values())))
            waiter.set_result(Slot(self, instance, cold))
            self._say(instance.version)

    def _serve_picky(self, pool: _Pool, picky: Picky[Slot], cold: bool) -> None:
        for waiter, instance in picky.matches(pool.waiters, pool.free):
            waiter.set_result(Slot(self, self._occupy(pool, instance), cold))
            self._unqueue(pool, waiter)
            self._say(instance.version)

    def _unqueue(self, pool: _Pool, waiter: asyncio.Future[Slot]) -> None:
        del pool.waiters[waiter]
        if pool.picky is not None:
            pool.picky.remove(waiter)

    def _vanish(self, instance: InstanceId) -> None:
        """Whoever waits for just this one waits in vain."""
        self.on_vanished(instance)
        for key, pool in self._pools.items():
            for waiter in pool.picky.of(instance) if pool.picky is not None else ():
                if not waiter.done():
                    waiter.set_exception(Vanished(instance))
                self._unqueue(pool, waiter)
                self._say(key)

    def _retire(self, instance: Instance) -> None:
        instance.leaving = True
        if (pool := self._pools.get(instance.version)) is not None:
            pool.free.pop(instance.id, None)
            if pool.picky is not None:
                self._say(instance.version)

    def _let_go(self, instance: Instance) -> None:
        """Nothing is in it any more: forget it, and tell control unless it knows."""
        if self._instances.get(instance.id) is instance:
            del self._instances[instance.id]
        if instance.timer is not None:
            instance.timer.cancel()
            instance.timer = None
        if instance.opening is not None:
            instance.opening.cancel()
            instance.opening = None
            self._see(instance)
        instance.upstream.close()
        instance.frames.close()
        if not instance.lost:
            back = GiveBack(instance.id, instance.last_used)
            if self._connected():
                self._send(back)
            else:
                self._unsaid.append(back)

    def _rest(self, instance: Instance) -> None:
        """It is idle: give it back when it has been so for its freeze delay. One timer serves many rests."""
        instance.idle_since = self._loop.time()
        if instance.timer is None:
            instance.timer = self._loop.call_later(instance.freeze_delay, self._rested, instance)

    def _rested(self, instance: Instance) -> None:
        instance.timer = None
        if instance.busy or instance.leaving:
            return
        delay = max(instance.freeze_delay, self._flush_window) if instance.reports else instance.freeze_delay
        left = instance.idle_since + delay - self._loop.time()
        if left > 0.001:
            instance.timer = self._loop.call_later(left, self._rested, instance)
        elif not self._connected():  # nobody could grant it again: warm requests would have nowhere to go
            instance.timer = self._loop.call_later(max(instance.freeze_delay, 0.1), self._rested, instance)
        else:
            self._retire(instance)
            self._let_go(instance)

    def _say(self, key: VersionKey) -> None:
        if not self._to_say:
            self._loop.call_soon(self._say_wants)
        self._to_say.add(key)

    def _say_wants(self) -> None:
        keys, self._to_say = self._to_say, set()
        if not self._connected():
            return  # `reconnected` says it
        for key in keys:
            pool = self._pools[key]
            now = self._present(pool)
            if now != pool.told and (now[0] or pool.told[0] or now[2] or pool.told[2]):
                oldest = next(iter(pool.waiters.values()), 0)
                self._send(Want(key, now[0], oldest, pool.seen, now[2]))
            pool.told = now

    def _present(self, pool: _Pool) -> _Told:
        """What control should know of it."""
        if pool.picky is None:
            return len(pool.waiters), pool.seen, ()
        held, certain = self._instances, pool.picky.instances()
        away = tuple(one for one in certain if one not in held or held[one].leaving)
        return len(pool.waiters) - pool.picky.bound, pool.seen, away

"""The shell around the core: carries decisions out, feeds what came of them back as events.

One owner of the `Cluster`; everything runs on one event loop, so `post` needs no lock. Whatever takes time is a
task of the scheduler's own group.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from typing import Protocol, assert_never

from sampan.engine.engine import Engine, Sandbox, Seen, Synced
from sampan.engine.engine import Gone as SandboxGone
from sampan.link.messages import Down, Sessions
from sampan.link.messages import Gone as InstanceGone
from sampan.link.messages import Grant as LeaseGrant
from sampan.link.messages import Opened as InstanceOpened
from sampan.link.messages import Refuse as Refusal
from sampan.link.messages import Revoke as LeaseRevoke
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import InstanceId, VersionKey
from sampan.model.version import Version
from sampan.scheduler.core import step
from sampan.scheduler.decisions import (
    Create,
    Decision,
    Forget,
    Freeze,
    Grant,
    Opened,
    Refuse,
    Revoke,
    Start,
    Stop,
    Tell,
    Thaw,
)
from sampan.scheduler.events import (
    Created,
    Ended,
    Event,
    Failed,
    Found,
    Frozen,
    Settled,
    Started,
    Thawed,
    Tick,
    Unhealthy,
    Warmed,
)
from sampan.scheduler.health import Health
from sampan.scheduler.hooks import Hooks
from sampan.scheduler.starting import Starting
from sampan.scheduler.state import Cluster, Fleet, Instance, Phase
from sampan.scheduler.views import view
from sampan.telemetry.logs import Log

TICK = 0.1  # seconds; only idleness and back-off are noticed by it, requests never wait for one
ROOM = 10.0  # seconds in which a start that was asked for ahead of traffic must have found room
FREEZE = 10.0  # seconds in which an instance must have been frozen, else it is ended; mostly a few ms
DOUBT = 0.25  # seconds in which the engine hears that a program ended whose connection broke; mostly a few ms

log = Log("scheduler")


class Failures(Protocol):
    """Where the last failed start of a function is kept for people to read."""

    def note_failure(self, function: str, version: VersionKey, failure: Failure) -> None: ...


class Scheduler:
    """Decides what runs and makes it so. `run` until cancelled; `post` an event from anywhere on the loop."""

    def __init__(
        self,
        engine: Engine,
        hooks: Hooks,
        failures: Failures,
        tell: Callable[[str, Down], None],
        cluster: Cluster,
        account: str,
        region: str,
        start_timeout: float,
        grace: float,
        clock: Callable[[], float] = time.monotonic,
        report_to: str = "",
        endpoint: str = "",
        was_open: Callable[[InstanceId, Collection[str]], Awaitable[bool]] | None = None,
    ) -> None:
        """report_to: address at which instances report their telemetry; "": nowhere.

        endpoint: URL at which they find the front door.

        was_open: whether one of some gateways has seen an instance's port accept; None: that is not asked.
        """
        self.cluster = cluster
        self._clock = clock
        self._engine = engine
        self._hooks = hooks
        self._failures = failures
        self._tell, self._was_open = tell, was_open
        self._early: dict[InstanceId, set[str]] = {}  # starts under way → gateways that may use them already
        self._grace = grace
        self._starting = Starting(engine, hooks, account, region, start_timeout, report_to, endpoint)
        self._health = Health(cluster, hooks, self.post, self._spawn)
        self._group: asyncio.TaskGroup | None = None
        self._working: dict[InstanceId, asyncio.Task[None]] = {}  # creations and starts under way
        self._doubtful: dict[InstanceId, asyncio.Event] = {}  # those whose stop waits for news of their end
        self._warming: dict[VersionKey, list[asyncio.Future[None]]] = {}
        self._synced = asyncio.Event()
        self._moved = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Sandboxes are left as they are."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._watch())
            group.create_task(self._tick())

    async def settle(self, gateways: int, patience: float) -> None:
        """Begin to decide: once the engine has told everything and `gateways` connected, or patience ran out."""
        await self._synced.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while len(self.cluster.gateways) < gateways:
                    self._moved.clear()
                    await self._moved.wait()
        self.post(Settled())

    def post(self, event: Event) -> None:
        """Something happened."""
        for decision in step(self.cluster, event, self._clock()):
            self._carry_out(decision)
        self._moved.set()
        self._answer_warming()

    async def warm(self, version: Version, count: int, timeout: float) -> None:
        """Have `count` instances of a version ready; `cool` ends the wish. Raises: StartFailed, TimeoutError."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._warming.setdefault(version.key, []).append(future)
        self.post(Warmed(version, count))
        try:
            async with asyncio.timeout(timeout):
                await asyncio.wait([future], timeout=ROOM)
                if not future.done() and not self.cluster.fleets[version.key].instances:
                    raise _no_room(version, "beside what runs now")
                await future
        finally:
            self._warming[version.key].remove(future)
            if not self._warming[version.key]:
                del self._warming[version.key]  # each revision has a key of its own

    def check_size(self, version: Version) -> None:
        """Raises: StartFailed (NO_ROOM), when the whole machine is too small for an instance."""
        limits = self.cluster.limits
        if version.memory_mb > limits.memory_mb or version.cpu > limits.cpu:
            raise _no_room(version, f"in all: {limits.memory_mb} MB, {limits.cpu:g} vCPU")

    def cool(self, version: Version) -> None:
        self.post(Warmed(version, 0))

    def _answer_warming(self) -> None:
        for key, futures in self._warming.items():
            fleet = self.cluster.fleets.get(key)
            if fleet is not None and fleet.ready >= fleet.warm:
                for future in futures:
                    if not future.done():
                        future.set_result(None)

    # ── what people see ───────────────────────────────────────────────────────────────────────────────

    def views(self, function: str) -> list[InstanceView]:
        """The instances of a function, spares included."""
        now = self._clock()
        return [
            view(fleet, instance, now)
            for fleet, instance in self.cluster.instances()
            if fleet.version.function == function
        ]

    def counts(self, version: VersionKey) -> int:
        """Instances of a version that can serve."""
        fleet = self.cluster.fleets.get(version)
        return fleet.ready if fleet else 0

    def traffic(self, function: str) -> int:
        """Instances of a function that gateways hold right now, or would use next."""
        fleets = (f for f in self.cluster.fleets.values() if f.version.function == function)
        return sum(fleet.ready for fleet in fleets)

    def version(self, key: VersionKey) -> Version | None:
        fleet = self.cluster.fleets.get(key)
        return fleet.version if fleet else None

    # ── carrying out ──────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, decision: Decision) -> None:
        match decision:
            case Create(id_, key):
                self._work(id_, self._create_spare(id_, self.cluster.fleets[key].version))
            case Start(id_, key, created):
                self._work(id_, self._start(id_, self.cluster.fleets[key].version, created))
            case Freeze(id_):
                self._spawn(self._freeze(id_))
            case Thaw(id_):
                self._spawn(self._thaw(id_))
            case Stop():
                self._spawn(self._stop(decision, self.cluster.fleets[decision.version].version))
            case Grant():
                self._grant(decision)
            case Opened(gateway, id_):
                self._tell(gateway, InstanceOpened(id_, _known(self.cluster, id_)[1].startup))
            case Revoke(gateway, id_, for_good):
                self._tell(gateway, LeaseRevoke(id_, for_good))
            case Forget(gateway, id_, failure):
                self._tell(gateway, InstanceGone(id_, failure))
            case Refuse(gateway, key, failure, no_capacity, retry_after):
                self._tell(gateway, Refusal(key, failure, no_capacity=no_capacity, retry_after=retry_after))
            case Tell(gateway, sessions):
                self._tell(gateway, Sessions(sessions))
            case _:
                assert_never(decision)

    def _spawn(self, work: Coroutine[object, None, None]) -> "asyncio.Task[None]":
        assert self._group is not None, "post before run"
        return self._group.create_task(work)

    def _work(self, id_: InstanceId, work: Coroutine[object, None, None]) -> None:
        task = self._spawn(work)
        self._working[id_] = task
        task.add_done_callback(lambda _: self._working.pop(id_, None))

    def _grant(self, grant: Grant) -> None:
        fleet, instance = _known(self.cluster, grant.instance)
        if instance.phase is Phase.STARTING:
            self._early.setdefault(instance.id, set()).add(grant.gateway)
        self._tell(
            grant.gateway,
            LeaseGrant(
                instance.id,
                fleet.version.key,
                instance.host,
                instance.port,
                grant.slots,
                instance.cold or instance.phase is Phase.STARTING,
                instance.startup if instance.cold else (),
                instance.log_path,
                opening=instance.phase is Phase.STARTING,
            ),
        )
        instance.cold = False

    async def _create_spare(self, id_: InstanceId, version: Version) -> None:
        try:
            sandbox = await self._starting.create(id_, version)
        except StartFailed as error:
            self._working.pop(id_, None)
            self.post(Failed(id_, error.failure))
        else:
            self.post(Created(id_, sandbox.host, sandbox.port, sandbox.log_path))

    async def _start(self, id_: InstanceId, version: Version, created: bool) -> None:
        begin = time.monotonic()
        try:
            sandbox, stages = await self._starting.start(id_, version, created)
        except StartFailed as error:
            early = self._early.pop(id_, None)
            opened = early is not None and self._was_open is not None and await self._was_open(id_, early)
            self._working.pop(id_, None)
            if opened:  # a request was quicker than the look at its port, and ended it
                self._gone(id_, error.failure)
            else:
                self._start_failed(id_, version, error)
            return
        took = time.monotonic() - begin
        self._working.pop(id_, None)
        self._early.pop(id_, None)
        self.post(Started(id_, sandbox.host, sandbox.port, stages, sandbox.log_path, took))
        log.info("instance started", instance=id_, version=version.key, took_ms=round(took * 1000, 1))
        self._health.begin(id_, version)

    def _start_failed(self, id_: InstanceId, version: Version, error: StartFailed) -> None:
        failure = error.failure
        log.warning("start failed", instance=id_, version=version.key, kind=failure.kind.value, why=failure.message)
        self._failures.note_failure(version.function, version.key, failure)
        for future in self._warming.get(version.key, ()):
            if failure.kind is not FailureKind.ENGINE_FAILED and not future.done():
                future.set_exception(error)
        self.post(Failed(id_, failure))

    async def _freeze(self, id_: InstanceId) -> None:
        """Tried for as long as an engine takes to come back; nobody can use what is stuck on its way."""
        why, until = "", self._clock() + FREEZE
        while self._clock() < until:
            known = self.cluster.instance(id_)
            if known is None or known[1].phase is not Phase.FREEZING:
                return
            try:
                await self._engine.freeze(id_)
            except StartFailed as error:
                why = error.failure.message
                await asyncio.sleep(TICK)
            else:
                self.post(Frozen(id_))
                return
        self.post(Unhealthy(id_, f"it could not be frozen: {why}"))

    async def _thaw(self, id_: InstanceId) -> None:
        """Somebody's request waits in it, so while the engine is away it is asked again."""
        while self.cluster.instance(id_) is not None:
            try:
                await self._engine.freeze(id_, on=False)
            except StartFailed as error:
                if error.failure.kind is not FailureKind.ENGINE_FAILED:
                    self.post(Ended(id_, error.failure))
                    return
                await asyncio.sleep(TICK)
            else:
                self.post(Thawed(id_))
                return

    async def _stop(self, stop: Stop, version: Version) -> None:
        log.info("instance stopping", instance=stop.instance, version=stop.version, why=stop.why)
        self._health.end(stop.instance)
        if stop.doubtful and await self._ended_by_itself(stop.instance):
            return
        if stop.served and version.pre_stop and (known := self.cluster.instance(stop.instance)):
            instance = known[1]
            with suppress(StartFailed):
                await self._engine.freeze(stop.instance, on=False)
            await self._hooks.before_stop(version, stop.instance, instance.host, instance.port, instance.log_path)
        try:
            await self._engine.stop(stop.instance, self._grace)
        except StartFailed as error:  # the engine is away: it will report what is left when it is back
            log.warning("stop failed", instance=stop.instance, why=error.failure.message)
            await asyncio.sleep(1)
            self._spawn(self._stop(stop, version))
            return
        if self.cluster.instance(stop.instance) is not None:  # else it had ended by itself, and that is known
            self.post(Ended(stop.instance))

    async def _ended_by_itself(self, id_: InstanceId) -> bool:
        """A program's connections break a moment before its end is known; stopped in between, it would hide why."""
        ended = self._doubtful[id_] = asyncio.Event()
        try:
            async with asyncio.timeout(DOUBT):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            del self._doubtful[id_]
        return True

    # ── what the engine tells ─────────────────────────────────────────────────────────────────────────

    async def _watch(self) -> None:
        async for event in self._engine.watch():
            match event:
                case Seen(sandbox):
                    self._seen(sandbox)
                case Synced():
                    self._synced.set()
                case SandboxGone(id_, failure):
                    self._gone(id_, failure)

    def _seen(self, sandbox: Sandbox) -> None:
        if sandbox.id in self._working or self.cluster.instance(sandbox.id) is not None:
            return
        key = VersionKey(sandbox.labels.get("version", ""))
        if key not in self.cluster.fleets:
            self._spawn(self._discard(sandbox.id))
            return
        log.info("instance adopted", instance=sandbox.id, version=key, state=sandbox.state.value)
        self.post(Found(sandbox.id, key, sandbox.state, sandbox.host, sandbox.port, sandbox.log_path))
        if sandbox.state is not InstanceState.CREATED:
            self._health.begin(sandbox.id, self.cluster.fleets[key].version)

    async def _discard(self, id_: InstanceId) -> None:
        log.info("unknown sandbox ended", instance=id_)
        with suppress(StartFailed):
            await self._engine.stop(id_, self._grace)

    def _gone(self, id_: InstanceId, failure: Failure | None) -> None:
        if id_ in self._working:
            return  # the task that starts it reports, with the reason
        known = self.cluster.instance(id_)
        if known is None or (failure is None and known[1].phase is Phase.STOPPING):
            return  # the task that stops it reports; with a failure, it ended before that
        fleet = known[0]
        log.warning("instance gone", instance=id_, version=fleet.version.key, why=failure and failure.message)
        if failure is not None:
            self._failures.note_failure(fleet.version.function, fleet.version.key, failure)
        self._health.end(id_)
        self.post(Ended(id_, failure))
        if doubt := self._doubtful.get(id_):
            doubt.set()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self.post(Tick())


def _no_room(version: Version, where: str) -> StartFailed:
    size = f"{version.memory_mb} MB, {version.cpu:g} vCPU"
    return StartFailed(Failure(FailureKind.NO_ROOM, f"the machine has no room for an instance of {size} {where}"))


def _known(cluster: Cluster, id_: InstanceId) -> tuple[Fleet, Instance]:
    known = cluster.instance(id_)
    assert known is not None, id_
    return known

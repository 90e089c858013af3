"""Collects what instances print: watches the engine, reads every instance's streams, and hands them to be kept.

A function has one task that reads its instances in turn, at most at telemetry.log_rate: what one function prints
costs its own output. An instance is looked at often while it prints, seldom while it does not, and not at all while
it is frozen. Nothing depends on seeing a line at a certain time: lines wait in the engine's ring until then.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from sampan.collector.output_pace import Allowance
from sampan.collector.output_reading import Reading
from sampan.collector.output_writer import Writer
from sampan.engine.engine import Engine, Gone, Past, SandboxEvent, Seen, Synced
from sampan.model.errors import StartFailed
from sampan.model.instance import InstanceState
from sampan.model.invocation import VersionFacts
from sampan.model.names import InstanceId, VersionKey
from sampan.output.lines import Line
from sampan.output.store import OutputStore, Place, function_of
from sampan.output.upkeep import Upkeep
from sampan.telemetry.logs import Log

FAST = 0.1  # seconds between looks at an instance that prints, or whose log somebody follows
SLOW = 1.0  # at one that prints nothing; its ring holds what it prints meanwhile
GROWTH = 1.5  # of the pause, while nothing is printed
LOOK = 0.001  # seconds of pause for each instance looked at: a look costs a quarter of it
EARLY = 0.001  # seconds; a timer may fire a little before its time, and must not fire again and again
UPKEEP = 10.0  # seconds between upkeeps
AGAIN = 1.0  # seconds until an engine that did not answer is asked again
REMEMBERED = 20_000  # instances of which it is known that there is nothing to do

Facts = Callable[[VersionKey], VersionFacts | None]

log = Log("output")


class OutputCollector:
    """`run` for ever; cancelling it loses nothing."""

    def __init__(self, engine: Engine, store: OutputStore, upkeep: Upkeep, facts: Facts, rate: float) -> None:
        """facts: of versions that are known.  rate: MB per second that one function is read at."""
        self._engine = engine
        self._store = store
        self._upkeep = upkeep
        self._facts = facts
        self._rate = rate
        self._writer = Writer(store, self._moved)
        self._readings: dict[str, Reading] = {}
        self._functions: dict[str, _Function] = {}
        self._settled: OrderedDict[str, None] = OrderedDict()
        self._asked: dict[str, VersionKey] = {}
        self._ask = asyncio.Event()
        self.synced = asyncio.Event()  # all instances from before the watch are known
        self._tasks: asyncio.TaskGroup | None = None
        store.on_follower = self._hurry

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            for place in await self._begin():
                self._track(place)
            tasks.create_task(self._writer.run())
            tasks.create_task(self._watch())
            tasks.create_task(self._find())
            tasks.create_task(self._keep_up())

    def know(self, instance: InstanceId, version: VersionKey) -> None:
        """There is, or was, this instance: for those that came and went unseen. To say so again is cheap."""
        if instance and instance not in self._readings and instance not in self._settled:
            self._asked[instance] = version
            self._ask.set()

    def report(self, function: str, lines: list[Line]) -> bool:
        """Lines that a program sent instead of printing them; False: there is no room for them now."""
        return self._writer.report(function, lines)

    # what there is to read

    async def _begin(self) -> list[Place]:
        while True:
            try:
                return await self._store.unfinished()
            except DBAPIError as error:
                log.warning("function logs cannot be read; trying again", why=error.orig)
                await asyncio.sleep(AGAIN)

    async def _watch(self) -> None:
        while True:
            try:
                async for event in self._engine.watch():
                    self._seen(event)
            except StartFailed as error:
                log.warning("the engine cannot be watched; trying again", why=error)
            await asyncio.sleep(AGAIN)

    def _seen(self, event: SandboxEvent) -> None:
        match event:
            case Seen(sandbox):
                reading = self._reading(sandbox.id, sandbox.labels)
                if reading is not None:
                    reading.alive, frozen = True, sandbox.state is InstanceState.FROZEN
                    reading.frozen = frozen
                    self._wake(reading)  # frozen, too: once more, for what it printed before
            case Gone(id_, _, labels):
                reading = self._reading(id_, labels)
                if reading is not None:
                    reading.alive = reading.frozen = False
                    self._wake(reading)
            case Past(id_, labels, at):  # what is older may have been read, and forgotten since
                if "version" in labels and self._upkeep.remembers(at):
                    self.know(id_, VersionKey(labels["version"]))
            case Synced():
                self.synced.set()
                for reading in self._readings.values():
                    if reading.alive is None:
                        reading.alive = False
                        self._wake(reading)

    def _reading(self, id_: InstanceId, labels: dict[str, str]) -> Reading | None:
        """None: it is not one of ours, or all of it is kept."""
        if (reading := self._readings.get(id_)) is not None:
            return reading
        if "version" not in labels or id_ in self._settled:
            return None
        return self._track(Place(id_, VersionKey(labels["version"])), new=True)

    async def _find(self) -> None:
        """Reads instances that others have told of, unless they are known already."""
        while True:
            await self._ask.wait()
            self._ask.clear()
            asked, self._asked = self._asked, {}
            for instance, version in asked.items():
                if instance in self._readings or instance in self._settled:
                    continue
                try:
                    place = await self._store.place(instance)
                except DBAPIError:
                    continue  # told again with the next request
                if place is not None and place.done:
                    self._settle(instance)
                elif instance not in self._readings:
                    reading = self._track(place or Place(instance, version), new=place is None)
                    reading.alive = False if self.synced.is_set() else None

    def _track(self, place: Place, new: bool = False) -> Reading:
        reading = Reading(place, self._concurrency(place.version), self._rate)
        self._readings[place.instance] = reading
        name = function_of(place)
        if new:
            self._writer.begin(reading, name)
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = _Function(name, self, self._rate)
            assert self._tasks is not None
            self._tasks.create_task(function.run())
        function.readings.append(reading)
        self._wake(reading)
        return reading

    def _concurrency(self, version: VersionKey) -> int:
        """0: not known yet."""
        facts = self._facts(version)
        return facts.concurrency if facts is not None else 0

    def _moved(self, gone: frozenset[str]) -> None:
        """Their places in the database are not what we took them for: begin anew, from those."""
        for instance in gone:
            reading = self._readings.get(instance)
            if reading is not None:
                log.warning("output was read by another process, too; going on from where it is", instance=instance)
                self.anew(reading)

    def anew(self, reading: Reading) -> None:
        """Another reading takes its place, from what is in the database."""
        self._readings.pop(reading.id, None)
        reading.stale = True
        self._wake(reading)
        self._asked[reading.id] = reading.place.version
        self._ask.set()

    def _settle(self, instance: str) -> None:
        self._settled[instance] = None
        if len(self._settled) > REMEMBERED:
            self._settled.popitem(last=False)

    def _wake(self, reading: Reading) -> None:
        reading.due = reading.interval = 0.0
        function = self._functions.get(function_of(reading.place))
        if function is not None:
            function.kick.set()

    def _hurry(self, function: str) -> None:
        """Somebody follows."""
        there = self._functions.get(function)
        for reading in there.readings if there is not None else ():
            if not reading.frozen:
                self._wake(reading)

    # for the functions' tasks

    def pause(self, function: str) -> float:
        """Seconds between looks at an instance that prints nothing, at most."""
        return FAST if self._store.followed(function) else SLOW

    def stretch(self) -> float:
        """Seconds between looks at one instance, at least, with as many as there are."""
        return LOOK * sum(not reading.frozen for reading in self._readings.values())

    def ended(self, function: "_Function", reading: Reading) -> None:
        """All of it has been handed over, or another reading has taken its place."""
        function.readings.remove(reading)
        if not reading.stale:
            del self._readings[reading.place.instance]
            self._settle(reading.place.instance)

    def idle(self, function: "_Function") -> None:
        if self._functions.get(function.name) is function:
            del self._functions[function.name]

    async def take(self, function: "_Function", reading: Reading) -> bool:
        """One look at an instance. Whether it had printed anything."""
        await self._writer.room(function.name)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(function.allowance.wait(loop.time()))
        if not reading.concurrency and (known := self._concurrency(reading.place.version)):
            reading.limit(known)
        taken = await reading.look(self._engine.logs, time.time_ns())
        function.allowance.take(taken.size, len(taken.lines), loop.time())
        self._writer.add(reading, function.name, taken.lines, taken.size, taken.lost)
        if taken.more:
            reading.due = 0.0
        return bool(taken.size or taken.lost)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP)
            try:
                await self._upkeep.once()
            except DBAPIError as error:
                log.warning("old function logs cannot be dropped; trying again", why=error.orig)


class _Function:
    """Reads one function's instances in turn, as long as there are any."""

    def __init__(self, name: str, collector: OutputCollector, rate: float) -> None:
        """rate: MB per second."""
        self.name = name
        self.readings: list[Reading] = []
        self.kick = asyncio.Event()
        self._collector = collector
        self._loop = asyncio.get_running_loop()
        self.allowance = Allowance(rate * 1e6, self._loop.time())

    async def run(self) -> None:
        while self.readings:
            self.kick.clear()
            now = self._loop.time()
            due = [reading for reading in self.readings if reading.due <= now + EARLY]
            if not due:
                await self._rest(min(reading.due for reading in self.readings) - now)
            for reading in due:
                await self._look(reading)
        self._collector.idle(self)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if seconds < 1e6 else None):
                await self.kick.wait()

    async def _look(self, reading: Reading) -> None:
        if not reading.stale:
            reading.due = float("inf")
            try:
                printed = await self._collector.take(self, reading)
            except StartFailed:  # the engine is away, or does not know it yet
                reading.due = min(reading.due, self._loop.time() + AGAIN)
                return
            except Exception as error:
                log.failure("output cannot be read; trying anew", error, instance=reading.id)
                await asyncio.sleep(AGAIN)
                self._collector.anew(reading)
                return
            self._plan(reading, printed)
        if reading.stale or reading.done:
            self._collector.ended(self, reading)

    def _plan(self, reading: Reading, printed: bool) -> None:
        """When to look next; at once where `due` was set meanwhile."""
        if reading.due == float("inf") and not reading.frozen:
            longest = self._collector.pause(self.name)
            slower = FAST if printed else min(longest, max(FAST, reading.interval * GROWTH))
            reading.interval = slower
            reading.due = self._loop.time() + max(slower, self._collector.stretch())

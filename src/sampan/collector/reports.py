"""The collector's end of the link: gateways report invocations, control tells what functions there are.

What gateways report waits in one queue, in the order it came, and is written down in as few transactions as may be:
while one is committed the next gathers. Only what is in the database is confirmed. A gateway sends only so much
that is not confirmed, which bounds the queue. What killed gateways left in their journals comes the same way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol, assert_never

import msgspec
from msgspec.structs import replace
from sqlalchemy.exc import SQLAlchemyError

from sampan.link.channel import Channel, serve
from sampan.link.journal import Left, leftovers
from sampan.link.reports import Down, Gauges, Hello, Kept, Ran, Records, Started, Told, Up
from sampan.meter.ledger import Batch
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, Outcome, VersionFacts
from sampan.model.names import InstanceId, VersionKey
from sampan.telemetry.layout import waited_for_start
from sampan.telemetry.logs import Log

AGAIN = 1.0  # seconds until a transaction that failed is tried again
LOOK = 2.0  # seconds between two looks for journals of killed gateways
FAREWELL = 3.0  # seconds that the end may take to write down what gateways left
GROUP = 20_000  # records in one transaction, about: what else is to be done waits for some 100 ms
BEHIND = 10_000  # records written at once, or waiting: a gateway's of a quarter of a second when it is busiest
STARTUPS = 2_000  # instances whose start is remembered for records to come

log = Log("reports")

Connection = Channel[Up, Down]


class Keeps(Protocol):
    """Where invocations are written down."""

    async def add(self, batches: Iterable[Batch]) -> list[tuple[InvocationRecord, ...]]: ...


class Hears(Protocol):
    """Who is told what is new. Nothing of it may wait."""

    def recorded(self, records: tuple[InvocationRecord, ...], versions: dict[VersionKey, VersionFacts]) -> None:
        """Invocations that are in the database since now: each is told once, or by a crash never."""

    def started(self, instance: InstanceId, startup: tuple[Stage, ...]) -> None:
        """How an instance started, whose records may have been told without."""

    def gauged(self, gateway: str, gauges: Gauges | None) -> None:
        """What a gateway does now; None: it is gone."""

    def told(self, told: Told) -> None:
        """What functions there are."""

    def ran(self, run: Ran, kept: Callable[[], None]) -> None:
        """A hook that ran. kept: to be called once it is in the database."""


class _Waiting(NamedTuple):
    batch: Batch
    kept: Callable[[int], None]  # told up to which number it is in the database


class Reports:
    """All who report."""

    def __init__(self, ledger: Keeps, hears: Hears, journals: Path | None = None) -> None:
        """journals: directory of the gateways' journals."""
        self._ledger, self._hears, self._journals = ledger, hears, journals
        self._hellos: dict[Connection, Hello] = {}
        self._connections: set[Connection] = set()
        self._waiting: list[_Waiting] = []
        self._held = 0  # records that wait, or are being written
        self._some, self._explained = asyncio.Event(), asyncio.Event()
        self._startups: OrderedDict[InstanceId, tuple[Stage, ...]] = OrderedDict()
        self._listener: asyncio.AbstractServer | None = None

    @property
    def behind(self) -> bool:
        """Whether records come faster than they are written down: what is less important should let them."""
        return self._held > BEHIND

    async def listen(self, path: Path) -> None:
        """Take reports in on a Unix socket."""
        self._listener = await serve(path, self._accept)

    async def run(self) -> None:
        """Write down what comes, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep())
            if self._journals is not None:
                group.create_task(self._inherit(self._journals))

    async def close(self) -> None:
        """After `run`: take no more but what gateways that ended have left. What is not confirmed stays on file."""
        if self._listener is not None:
            self._listener.close()
        for connection in list(self._connections):
            connection.close()
        if self._journals is None:
            return
        writing = asyncio.create_task(self._keep())
        try:
            async with asyncio.timeout(FAREWELL):
                await self._look(self._journals)
        except TimeoutError:
            log.warning("records of gateways that ended wait for the next start", directory=str(self._journals))
        finally:
            writing.cancel()

    # ── inside ──

    def _accept(self) -> Connection:
        return Channel(msgspec.msgpack.Decoder(Up), self._heard, self._left, self._connections.add)

    def _heard(self, connection: Connection, message: Up) -> None:
        if isinstance(message, Hello):
            self._hellos[connection] = message
            return
        hello = self._hellos.get(connection)
        if hello is None:
            connection.close()  # speaks before it said who it is
            return
        match message:
            case Records(seq=seq, versions=versions):
                batch = Batch(hello.life, seq, self._known(message.records), versions)
                self._put(batch, lambda upto: connection.send(Kept(upto)))
            case Started(instance, startup):
                self._startups[instance] = startup
                if len(self._startups) > STARTUPS:
                    self._startups.popitem(last=False)
                self._hears.started(instance, startup)
            case Gauges():
                self._hears.gauged(hello.name, message)
            case Told():
                self._hears.told(message)
                self._explained.set()
            case Ran():
                self._hears.ran(message, lambda: connection.send(Kept(message.seq)))
            case _:
                assert_never(message)

    def _known(self, records: Iterable[InvocationRecord]) -> tuple[InvocationRecord, ...]:
        """With what the gateway does not say of those that had to wait for an instance."""
        failed = Outcome.START_FAILED
        return tuple([
            self._completed(one) if one.cold or one.standing is True or one.outcome is failed else one
            for one in records
        ])  # fmt: skip

    def _completed(self, record: InvocationRecord) -> InvocationRecord:
        """With the stages of its instance's start, which may be told beside it; a failed start is a cold one.

        And with its ids, where it is sampled: it is asked for them again and again.
        """
        if record.standing is True:
            record = replace(record, standing=record.traced)
        if not record.cold:
            return replace(record, cold=True) if waited_for_start(record) else record
        startup = () if record.startup else self._startups.get(InstanceId(record.instance), ())
        return replace(record, startup=startup) if startup else record

    def _left(self, connection: Connection) -> None:
        self._connections.discard(connection)
        hello = self._hellos.pop(connection, None)
        if hello is not None and all(other.name != hello.name for other in self._hellos.values()):
            self._hears.gauged(hello.name, None)

    def _put(self, batch: Batch, kept: Callable[[int], None]) -> None:
        self._waiting.append(_Waiting(batch, kept))
        self._held += len(batch.records)
        self._some.set()

    async def _keep(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            while group := self._next_group():
                await self._write(group)

    async def _write(self, group: list[_Waiting]) -> None:
        try:
            fresh = await self._ledger.add(each.batch for each in group)
        except SQLAlchemyError as error:  # a full disk, a locked file: nothing is confirmed, nothing is lost
            log.failure("invocations could not be written down; trying again", error)
            self._waiting[:0] = group
            await asyncio.sleep(AGAIN)
        except Exception as error:  # of a record that no database takes: the others must not wait for it for ever
            if len(group) > 1:
                self._waiting[:0] = group[1:]
                await self._write(group[:1])
                return
            batch = group[0].batch
            log.failure("invocations left out; they count as missing", error, life=batch.life, seq=batch.seq)
            self._confirm(group[0])
        else:
            for each in group:
                self._confirm(each)
            told = chain.from_iterable(fresh)
            if new := self._known(told):
                versions = {key: facts for each in group for key, facts in each.batch.versions.items()}
                self._hears.recorded(new, versions)

    def _confirm(self, one: _Waiting) -> None:
        self._held -= len(one.batch.records)
        one.kept(one.batch.seq + len(one.batch.records) - 1)

    def _next_group(self) -> list[_Waiting]:
        count = size = 0
        while count < len(self._waiting) and size < GROUP:
            size += len(self._waiting[count].batch.records)
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group

    async def _inherit(self, directory: Path) -> None:
        """One journal after the other, each gone from the directory once it is in the database.

        A journal does not say what its versions were: control does, as soon as it is there.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._explained.wait()
        while True:
            await self._look(directory)
            await asyncio.sleep(LOOK)

    async def _look(self, directory: Path) -> None:
        with suppress(OSError):
            for left in await asyncio.to_thread(lambda: list(leftovers(directory))):
                await self._take_over(left)

    async def _take_over(self, left: Left) -> None:
        confirmed = asyncio.Event()
        try:
            last = left.first + len(left.records) - 1
            for at in range(0, len(left.records), GROUP):
                batch = Batch(left.life, left.first + at, self._known(left.records[at : at + GROUP]))
                self._put(batch, lambda upto: confirmed.set() if upto == last else None)
            await confirmed.wait()
        finally:
            left.close(confirmed.is_set())
        log.info("records of a gateway that ended taken over", life=left.life, records=len(left.records))

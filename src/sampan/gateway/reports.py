"""The gateway's end of the link to the collector: every invocation is reported, and kept until that is confirmed.

The collector may be away for as long as it likes: requests never notice. What is unconfirmed waits in the journal,
is reported once more when the link stands again, and is found by the collector where this gateway was killed.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sampan.link import channel
from sampan.link.journal import SUFFIX, Journal
from sampan.link.messages import ServedVersion
from sampan.link.reports import Down, EncodedRecords, Gauges, Hello, Started, Up, facts_of, lying
from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord
from sampan.model.names import InstanceId, VersionKey
from sampan.telemetry.logs import Log

RETRY = 0.1  # seconds between attempts to reach the collector
BATCH: Final = 0.05  # seconds over which records are gathered
SOME: Final = (
    128  # records that are sent at once, though sooner: thousands would hold requests up for a millisecond
)
STAGES: Final = (
    1.0  # seconds that a cold start's record waits at most for its stages, which control tells beside it
)
STARTS = 500  # of instances, remembered for their records, and for a collector that was away when they were told
BATCH_BYTES = 1 << 20  # of records in one message
UNDERWAY = 20_000  # records sent and not confirmed: what the collector may have to hold of one gateway
GAUGING = 1.0  # seconds between two tellings of what goes on now
FAREWELL = 2.0  # seconds that the end of the gateway waits for the last confirmation
VERSIONS = 10_000  # names kept of versions that the collector was told about
TOLD_LOST = 10.0  # seconds between two complaints about records there was no room for

log = Log("gateway")


_Connection = channel.Channel[Down, Up | EncodedRecords]


class Reports:
    """Reports of one gateway process."""

    def __init__(self, socket: Path | None, name: str, directory: Path | None) -> None:
        """socket: the collector's; None: nobody is told.  directory: of journals; None: a kill loses what waits."""
        self._socket = socket
        self._journal = _journal(directory, name)
        self._link = _Link(socket, name, self._journal.life)
        self._sent = 0  # number of the last record sent on this connection
        self._told: set[VersionKey] = set()  # facts that this connection has heard
        self._versions: dict[VersionKey, ServedVersion] = {}  # of records not confirmed
        self._starts: OrderedDict[str, tuple[Stage, ...]] = OrderedDict()  # of instances, as told
        self._batch: asyncio.Handle | None = None
        self._awaited: set[str] = set()  # instances whose stages the batch waits for
        self._confirmed = asyncio.Event()
        self._complained = (0, 0.0)  # lost records told of, and when
        self.gauges: Callable[[], Gauges] | None = None

    @property
    def lost(self) -> int:
        """Records there was no room for."""
        return self._journal.lost

    @property
    def unconfirmed(self) -> int:
        """Records that are not known to be in the database."""
        return self._journal.number - self._journal.kept

    def record(self, record: InvocationRecord, version: ServedVersion) -> None:
        """Reported with the next batch, or found by the collector after a kill."""
        if self._socket is None:
            return
        self._journal.add(record)
        self._versions[version.key] = version
        if record.cold and not record.startup and record.instance and record.instance not in self._starts:
            if not self._awaited:
                self._send_in(STAGES)
            self._awaited.add(record.instance)
        elif self._batch is None:
            self._send_in(BATCH)
        elif self._journal.number - self._sent == SOME and not self._awaited:
            self._batch.cancel()
            self._batch = asyncio.get_running_loop().call_soon(self._send)

    def started(self, instance: InstanceId, startup: tuple[Stage, ...]) -> None:
        """How an instance started whose first records may not tell."""
        self._starts[instance] = startup
        if len(self._starts) > STARTS:
            self._starts.popitem(last=False)
        if self._link.open:
            self._link.send(Started(instance, startup))
        if instance in self._awaited:
            self._awaited.remove(instance)
            if not self._awaited:
                self._send_in(BATCH)

    async def run(self) -> None:
        """Keep the link up, for ever."""
        if self._socket is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._link.run(self._joined, self._kept))
            group.create_task(self._gauging())

    async def close(self) -> None:
        """Say what is left to say and wait, for a bounded time, until that is confirmed. The rest stays on file."""
        self._send()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL):
                while self._link.open and self._journal.kept < self._journal.number:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        self._socket = None  # a request that ends after this is one that was cut off
        if self._batch is not None:
            self._batch.cancel()
        self._link.close()
        self._journal.close()

    # ── inside ──

    def _send_in(self, seconds: float) -> None:
        if self._batch is not None:
            self._batch.cancel()
        self._batch = asyncio.get_running_loop().call_later(seconds, self._send)

    def _joined(self) -> None:
        self._sent = self._journal.kept
        self._told.clear()
        for instance, startup in self._starts.items():
            self._link.send(Started(InstanceId(instance), startup))
        self._send()

    def _kept(self, seq: int) -> None:
        self._journal.confirm(seq)
        self._confirmed.set()
        if self._journal.kept == self._journal.number:
            self._versions.clear()
            if len(self._told) > VERSIONS:
                self._told.clear()
        if self._sent < self._journal.number and self._batch is None:
            self._send()

    def _send(self) -> None:
        if self._batch is not None:
            self._batch.cancel()
            self._batch = None
        self._awaited.clear()
        journal = self._journal
        while self._link.open and self._sent < journal.number and self._sent - journal.kept < UNDERWAY:
            first, count, entries = journal.take(self._sent, BATCH_BYTES)
            facts = {key: facts_of(version) for key, version in self._versions.items() if key not in self._told}
            self._told |= facts.keys()
            self._link.send(EncodedRecords(first, lying(count, entries), facts))
            self._sent = first + count - 1
        self._complain()

    def _complain(self) -> None:
        lost, (told, when) = self._journal.lost, self._complained
        now = asyncio.get_running_loop().time()
        if lost > told and now - when >= TOLD_LOST:
            log.warning("no room for invocation records; is the collector up?", lost=lost - told)
            self._complained = lost, now

    async def _gauging(self) -> None:
        while True:
            await asyncio.sleep(GAUGING)
            if self.gauges is not None and self._link.open:
                self._link.send(self.gauges())


class _Link:
    """A connection to the collector that is made anew whenever it breaks."""

    def __init__(self, socket: Path | None, name: str, life: str) -> None:
        self._socket, self._hello = socket, Hello(name, life)
        self._channel: _Connection | None = None
        self._lost = asyncio.Event()

    @property
    def open(self) -> bool:
        return self._channel is not None and self._channel.open

    async def run(self, joined: Callable[[], None], kept: Callable[[int], None]) -> None:
        assert self._socket is not None
        decoder = msgspec.msgpack.Decoder(Down)
        while True:
            self._lost.clear()
            with suppress(OSError):
                self._channel = await channel.connect(
                    self._socket,
                    lambda: channel.Channel(decoder, lambda _, told: kept(told.seq), lambda _: self._lost.set()),
                )
                self._channel.send(self._hello)
                joined()
                await self._lost.wait()
            await asyncio.sleep(RETRY)

    def send(self, message: "Up | EncodedRecords") -> None:
        if self._channel is not None:
            self._channel.send(message)

    def close(self) -> None:
        if self._channel is not None:
            self._channel.close()


def _journal(directory: Path | None, name: str) -> Journal:
    """In a file, so that a kill loses nothing; where there can be none, in memory."""
    life = secrets.token_hex(16)
    if directory is not None:
        try:
            return Journal(life, directory / f"{name}-{life}{SUFFIX}")
        except OSError as error:
            log.warning("no journal of invocation records; a kill may lose some", why=str(error))
    return Journal(life, None)

"""One supervised process: started, waited for, restarted when it dies, ended in order."""

import asyncio
import os
import select
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from sampan.telemetry.logs import Log

STABLE = 10.0  # seconds a process must have run for its restarts to be forgiven
SLOWEST = 5.0  # seconds between restarts, at most
LOG_KEPT = 16 << 20  # bytes; a larger log is moved aside when its process starts

log = Log("up")


class ProcessStatus(msgspec.Struct, frozen=True):
    """One process, as `sampan status` shows it."""

    name: str
    pid: int  # 0: not running
    state: str  # "starting" | "ready" | "restarting" | "stopped"
    since: float  # Unix seconds
    restarts: int


class NeverReady(Exception):
    """A process ended, or did nothing, before it was ready."""


@dataclass
class Child:
    """What to run and how to tell that it is ready."""

    name: str
    argv: Sequence[str]
    log_file: Path
    ready: Callable[[], Awaitable[bool]] | None = None  # None: it writes a byte to the descriptor READY_FD names
    uid_gid: tuple[int, int] | None = None  # for programs that do not drop root themselves
    pass_fds: Sequence[int] = ()
    patience: float = 30.0  # seconds to be ready, and again to end after SIGTERM
    on_change: Callable[[], None] = lambda: None
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    state: str = field(default="stopped", init=False)
    since: float = field(default=0.0, init=False)
    restarts: int = field(default=0, init=False)

    @property
    def status(self) -> ProcessStatus:
        pid = self.process.pid if self.process and self.process.returncode is None else 0
        return ProcessStatus(self.name, pid, self.state, self.since, self.restarts)

    def _enter(self, state: str) -> None:
        self.state, self.since = state, time.time()
        self.on_change()

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises: NeverReady, its last log lines included."""
        self._enter("starting")
        signal_read, signal_write = os.pipe()
        try:
            self.process = await self._spawn(signal_write)
            os.close(signal_write)
            signal_write = -1
            async with asyncio.timeout(self.patience):
                await self._wait_ready(signal_read)
        except TimeoutError:
            raise NeverReady(
                f"{self.name} was not ready within {self.patience:g} s\n{self._last_words()}"
            ) from None
        finally:
            os.close(signal_read)
            if signal_write >= 0:
                os.close(signal_write)
        self._enter("ready")

    async def _spawn(self, signal_write: int) -> asyncio.subprocess.Process:
        if self.log_file.exists() and self.log_file.stat().st_size > LOG_KEPT:
            self.log_file.rename(self.log_file.with_suffix(".log.1"))
        output = os.open(self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        try:
            return await asyncio.create_subprocess_exec(
                *self.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=(*self.pass_fds, signal_write),
                env={**os.environ, "READY_FD": str(signal_write), "SUPERVISOR_PID": str(os.getpid())},
                start_new_session=True,
                user=self.uid_gid[0] if self.uid_gid else None,
                group=self.uid_gid[1] if self.uid_gid else None,
                extra_groups=[] if self.uid_gid else None,
            )
        finally:
            os.close(output)

    async def _wait_ready(self, signal_read: int) -> None:
        assert self.process is not None
        while True:
            if self.process.returncode is not None:
                raise NeverReady(f"{self.name} ended with code {self.process.returncode}\n{self._last_words()}")
            if self.ready is not None:
                if await self.ready():
                    return
            elif await asyncio.to_thread(_readable, signal_read, 0.05) and os.read(signal_read, 1):
                return
            await asyncio.sleep(0.02)

    def _last_words(self) -> str:
        with suppress(OSError):
            return self.log_file.read_bytes()[-2000:].decode(errors="replace").strip()
        return ""

    async def supervise(self) -> None:
        """Restart it whenever it ends, until cancelled."""
        failures = 0
        while True:
            assert self.process is not None
            begun = time.monotonic()
            await self.process.wait()
            failures = failures + 1 if time.monotonic() - begun < STABLE else 0
            self.restarts += 1
            self._enter("restarting")
            log.warning("process ended", name=self.name, code=self.process.returncode)
            await asyncio.sleep(min(SLOWEST, 0.05 * 2**failures))
            try:
                await self.start()
            except NeverReady as error:
                log.warning("process does not come up", name=self.name, why=str(error))
                if self.process.returncode is None:
                    await self.stop()

    async def stop(self, sign: signal.Signals = signal.SIGTERM) -> None:
        """Ask it to end; kill it when it does not."""
        process = self.process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                process.send_signal(sign)
            try:
                async with asyncio.timeout(self.patience):
                    await process.wait()
            except TimeoutError:
                log.warning("process killed", name=self.name)
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        self._enter("stopped")


def _readable(fd: int, seconds: float) -> bool:
    return bool(select.select([fd], [], [], seconds)[0])

"""The OCI runtime, called directly: `create`, release through its fifo, `exec`. It leaves no process behind.

Deleting needs no runtime: when the first process of a sandbox has ended, its pid namespace is empty; what is
left is the cgroup and a directory. So only a start and an exec cost a process of the runtime (5–10 ms of CPU).
"""

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from sampan.engine.engine import ExecResult
from sampan.engine.node import process
from sampan.link.timer import new_timer, set_timer

_CREATE_TIMEOUT = 30.0  # seconds; takes 7 ms, up to 50 with 500 sandboxes on two cores
_RELEASE_TIMEOUT = 5.0  # seconds; takes 0.1 ms
_OUTPUT_LIMIT = 1 << 20  # bytes kept of each stream of an exec
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


class RuntimeFailed(Exception):
    """The runtime refused; `str()` is what it said, or empty when it said it on the sandbox's own stderr."""


class Runtime:
    """runc or crun, with its own state directory."""

    def __init__(self, name: str, state: Path) -> None:
        """Raises: RuntimeFailed when the program is not there."""
        program = shutil.which(name, path=_ENVIRONMENT["PATH"])
        if program is None:
            raise RuntimeFailed(f"the runtime '{name}' is not installed")
        self.name = name
        self._program = program
        self._state = state
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def close(self) -> None:
        os.close(self._null)

    def known(self) -> set[str]:
        """Ids that the runtime has state of."""
        return {entry.name for entry in self._state.iterdir()}

    def forget(self, sandbox: str) -> None:
        shutil.rmtree(self._state / sandbox, ignore_errors=True)

    def fifo(self, sandbox: str) -> Path:
        """Exists while the sandbox's program waits to be released."""
        return self._state / sandbox / "exec.fifo"

    async def create(self, sandbox: str, bundle: Path, stdout: int, stderr: int) -> int:
        """Make the sandbox from its bundle; the pid of its first process. Raises: RuntimeFailed.

        Not to be cancelled: half a creation could not be told from none. It takes milliseconds.
        """
        pid_file = bundle / "pid"
        arguments = ("create", "--bundle", str(bundle), "--pid-file", str(pid_file), sandbox)
        pid = process.spawn(self._argv(*arguments), _ENVIRONMENT, self._null, stdout, stderr)
        try:
            async with asyncio.timeout(_CREATE_TIMEOUT):
                code = await process.ended(pid)
        except TimeoutError:
            raise RuntimeFailed(f"{self.name} did not finish within {_CREATE_TIMEOUT:g} s") from None
        if code != 0:
            raise RuntimeFailed
        return int(pid_file.read_text())

    async def release(self, sandbox: str) -> None:
        """Let the program of a created sandbox start. Raises: RuntimeFailed.

        Source: runc 1.1 `start` (reads one byte), crun 1.8 `start` (writes one).
        """
        fifo = self.fifo(sandbox)
        try:
            async with asyncio.timeout(_RELEASE_TIMEOUT):
                await (_write_byte(fifo) if self.name == "crun" else _read_byte(fifo))
        except (OSError, TimeoutError) as error:
            raise RuntimeFailed(f"the program could not be released: {error or 'it does not wait'}") from error
        with suppress(FileNotFoundError):
            fifo.unlink()

    async def exec(
        self, sandbox: str, program: Mapping[str, object], stdin: bytes, timeout: float
    ) -> ExecResult | None:
        """Run another program inside. `program`: an OCI process. None: not ended within `timeout` seconds."""
        with ExitStack() as held, tempfile.TemporaryDirectory(dir=self._state.parent) as directory:
            described, pid_file = Path(directory, "process.json"), Path(directory, "pid")
            described.write_bytes(msgspec.json.encode(program))
            given = held.enter_context(tempfile.TemporaryFile(dir=directory))
            given.write(stdin)
            given.seek(0)
            outputs = [_Output(), _Output()]
            for output in outputs:
                held.callback(output.close)
            argv = self._argv("exec", "--process", str(described), "--pid-file", str(pid_file), sandbox)
            pid = process.spawn(argv, _ENVIRONMENT, given.fileno(), outputs[0].inside, outputs[1].inside)
            for output in outputs:
                output.start()
            try:
                async with asyncio.timeout(timeout):
                    code = await _outlasted(pid, pid_file)
                    for output in outputs:
                        await output.ended
            except TimeoutError:
                return None
            return ExecResult(code, bytes(outputs[0].kept), bytes(outputs[1].kept))

    def _argv(self, *arguments: str) -> tuple[str, ...]:
        return (self._program, "--root", str(self._state), *arguments)


async def _outlasted(pid: int, pid_file: Path) -> int:
    """Wait for an exec. Cut short, it takes the program inside with it."""
    try:
        return await process.ended(pid)
    except BaseException:
        with suppress(FileNotFoundError, ValueError, ProcessLookupError):
            await process.killed(int(pid_file.read_text()))
        raise


class _Output:
    """One output stream of an exec: read to its end, the first part of it kept."""

    def __init__(self) -> None:
        self._read, self.inside = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._read, False)
        self.kept = bytearray()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        """Once the program has its end."""
        os.close(self.inside)
        self.inside = -1
        asyncio.get_running_loop().add_reader(self._read, self._more)

    def _more(self) -> None:
        try:
            data = os.read(self._read, 1 << 16)
        except BlockingIOError:
            return
        if data:
            self.kept += data[: _OUTPUT_LIMIT - len(self.kept)]
        else:
            asyncio.get_running_loop().remove_reader(self._read)
            if not self.ended.done():
                self.ended.set_result(None)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read)
        self.ended.cancel()
        for descriptor in (self._read, self.inside):
            if descriptor >= 0:
                os.close(descriptor)


async def _read_byte(fifo: Path) -> None:
    descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        await process.readable(descriptor)
        if not os.read(descriptor, 1):
            raise OSError("nobody waits at the fifo")
    finally:
        os.close(descriptor)


async def _write_byte(fifo: Path) -> None:
    while True:
        try:
            descriptor = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.ENXIO:  # not waiting yet
                raise
            await fine_sleep(0.0005)
            continue
        try:
            os.write(descriptor, b"0")
        finally:
            os.close(descriptor)
        return


async def fine_sleep(seconds: float) -> None:
    """Like asyncio.sleep, whose own steps are a whole millisecond."""
    timer = new_timer()
    try:
        set_timer(timer, seconds)
        await process.readable(timer)
    finally:
        os.close(timer)

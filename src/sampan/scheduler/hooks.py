"""The calls a function asked for around its life: initializer, first health check, pre-stop.

Source: container-contract.md A2 (requests), A3 (lifecycle), A4 (health check).
"""

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp

from sampan.engine.engine import Engine, Sandbox
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.names import InstanceId, VersionKey, new_request_id
from sampan.model.version import HealthCheck, Hook, Version
from sampan.wire.headers import function_headers

LAST_WORDS = 1024  # bytes of a failed hook's answer that are shown


class Hooks:
    """Calls instances. One HTTP session, owned by whoever opened it."""

    def __init__(
        self,
        engine: Engine,
        session: aiohttp.ClientSession,
        account: str,
        region: str,
        ran: Callable[[InstanceId, VersionKey, int, int], None] = lambda *_: None,
    ) -> None:
        """ran: told of initializers that succeeded and of every pre-stop hook: where, and from when to when (Unix
        nanoseconds)."""
        self._ran = ran
        self._engine = engine
        self._session = session
        self._account = account
        self._region = region

    async def initialize(self, version: Version, sandbox: Sandbox) -> None:
        """Run the initializer. Raises: StartFailed (INITIALIZER_FAILED)."""
        hook = version.initializer
        if hook is None:
            return
        request, begin = new_request_id(), time.time_ns()
        _frame(sandbox.log_path, f"FC Initialize Start RequestId: {request}")
        try:
            await self._initialize(version, hook, sandbox, request)
        finally:
            _frame(sandbox.log_path, f"FC Initialize End RequestId: {request}")
        self._ran(sandbox.id, version.key, begin, time.time_ns())

    async def _initialize(self, version: Version, hook: Hook, sandbox: Sandbox, request: str) -> None:
        if hook.command:
            done = await self._engine.exec(sandbox.id, hook.command, b"", hook.timeout)
            if done.exit_code != 0:
                said = (done.stderr or done.stdout)[-LAST_WORDS:].decode(errors="replace")
                raise _failed(f"initializer {hook.command[0]!r} exited with code {done.exit_code}{_saying(said)}")
            return
        try:
            origin = f"http://{sandbox.host}:{sandbox.port}"
            status, said = await self._call(version, origin, "POST", "/initialize", request, hook.timeout)
        except TimeoutError:
            raise _failed(f"initializer did not answer within {hook.timeout:g} seconds") from None
        except (aiohttp.ClientError, OSError) as error:
            raise _failed(f"initializer could not be called: {error}") from error
        if not 200 <= status < 300:
            raise _failed(f"initializer answered {status}{_saying(said)}")

    async def first_check(self, version: Version, sandbox: Sandbox) -> None:
        """The health check that ends a start. Raises: StartFailed (HEALTH_CHECK_FAILED)."""
        check = version.health_check
        if check is None:
            return
        await asyncio.sleep(check.initial_delay)
        why = ""
        for attempt in range(check.failures):
            if attempt:
                await asyncio.sleep(check.period)
            why = await self.check(check, sandbox.host, sandbox.port)
            if not why:
                return
        raise StartFailed(Failure(FailureKind.HEALTH_CHECK_FAILED, f"check function health failed with {why}"))

    async def check(self, check: HealthCheck, host: str, port: int) -> str:
        """One health check: "" when it passes, else why not."""
        try:
            async with asyncio.timeout(check.timeout):
                async with self._session.get(f"http://{host}:{port}{check.path}", allow_redirects=False) as answer:
                    return "" if 200 <= answer.status < 400 else f"status code: {answer.status}"
        except TimeoutError:
            return f"no answer within {check.timeout:g} seconds"
        except (aiohttp.ClientError, OSError) as error:
            return str(error) or type(error).__name__

    async def before_stop(
        self, version: Version, instance: InstanceId, host: str, port: int, log_path: str
    ) -> None:
        """The pre-stop hook. Whatever it answers, the stop goes on."""
        hook = version.pre_stop
        if hook is None:
            return
        request, begin = new_request_id(), time.time_ns()
        _frame(log_path, f"FC PreStop Start RequestId: {request}")
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            await self._call(version, f"http://{host}:{port}", "GET", "/pre-stop", request, hook.timeout)
        _frame(log_path, f"FC PreStop End RequestId: {request}")
        self._ran(instance, version.key, begin, time.time_ns())

    async def _call(
        self, version: Version, origin: str, method: str, path: str, request: str, timeout: float
    ) -> tuple[int, str]:
        headers = function_headers(self._account, self._region, version, version.version, path)
        headers["X-Fc-Request-Id"] = request
        async with asyncio.timeout(timeout):
            async with self._session.request(method, origin + path, headers=headers) as answer:
                return answer.status, (await answer.content.read(LAST_WORDS)).decode(errors="replace")


def _failed(message: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.INITIALIZER_FAILED, message))


def _saying(said: str) -> str:
    return f", saying {said.strip()!r}" if said.strip() else ""


def _frame(log_path: str, line: str) -> None:
    """Append a framing line to the instance's log. A log that cannot be written never hurts."""
    if not log_path:
        return
    with suppress(OSError):
        fd = os.open(Path(log_path), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(fd, line.encode() + b"\n")
        finally:
            os.close(fd)

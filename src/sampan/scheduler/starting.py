"""An instance's start: its sandbox, its program, its initializer, its first health check."""

import time
from contextlib import suppress

import msgspec

from sampan.engine.engine import Engine, Sandbox, Stream
from sampan.model.errors import FailureKind, StartFailed
from sampan.model.instance import FAILED, Stage
from sampan.model.names import InstanceId
from sampan.model.version import Version
from sampan.scheduler import environment
from sampan.scheduler.hooks import Hooks

LAST_LINES = 4096  # bytes of a program's output that are told with a failure


class Starting:
    """Makes instances ready. What fails leaves no sandbox behind."""

    def __init__(
        self,
        engine: Engine,
        hooks: Hooks,
        account: str,
        region: str,
        timeout: float,
        report_to: str = "",
        endpoint: str = "",
    ) -> None:
        """timeout: seconds in which a program must listen.  report_to, endpoint: as `environment.environment`."""
        self._engine, self._hooks = engine, hooks
        self._account, self._region, self._timeout = account, region, timeout
        self._report_to, self._endpoint = report_to, endpoint

    async def create(self, id_: InstanceId, version: Version) -> Sandbox:
        """Make the sandbox; an image that was collected meanwhile is pulled again. Raises: StartFailed."""
        spec = environment.sandbox(version, id_, self._account, self._region, self._report_to, self._endpoint)
        try:
            return await self._engine.create(spec)
        except StartFailed as error:
            if error.failure.kind is not FailureKind.IMAGE_NOT_FOUND:
                raise
        begin = time.time_ns()
        pinned = f"{version.image.reference.partition('@')[0]}@{version.image.digest}"
        await self._engine.images.pull(pinned, None)
        pulled = Stage("pull", begin, time.time_ns())
        sandbox = await self._engine.create(spec)
        return msgspec.structs.replace(sandbox, stages=(pulled, *sandbox.stages))

    async def start(self, id_: InstanceId, version: Version, created: bool) -> tuple[Sandbox, tuple[Stage, ...]]:
        """The ready sandbox, and the stages of its start. Raises: StartFailed, which tells those that were done.

        created: its sandbox has been made, by `create`.
        """
        begin = time.time_ns()
        stages: tuple[Stage, ...] = ()
        try:
            stages = () if created else (await self.create(id_, version)).stages
            sandbox = await self._engine.start(id_, self._timeout)
        except StartFailed as error:
            raise _after(stages, error, begin) from error
        stages += sandbox.stages
        if version.initializer is None and version.health_check is None:
            return sandbox, stages
        begin = time.time_ns()
        try:
            await self._hooks.initialize(version, sandbox)
            await self._hooks.first_check(version, sandbox)
        except StartFailed as error:
            explained = await self._with_log(id_, error)
            await self._engine.stop(id_, 0)
            raise _after(stages, explained, begin) from error
        return sandbox, (*stages, Stage("initialize", begin, time.time_ns()))

    async def _with_log(self, id_: InstanceId, error: StartFailed) -> StartFailed:
        """A hook's failure, with what the program wrote before."""
        written = b""
        with suppress(StartFailed):
            for stream in Stream:
                written += (await self._engine.logs(id_, stream, -LAST_LINES, LAST_LINES)).data
        tail = written[-LAST_LINES:].decode(errors="replace")
        return StartFailed(msgspec.structs.replace(error.failure, log_tail=tail))


def _after(stages: tuple[Stage, ...], error: StartFailed, begin: int) -> StartFailed:
    """With what was done before. begin: of the start."""
    since = max((stage.end for stage in stages), default=begin)
    failed = Stage(FAILED, since, max(since, time.time_ns()))
    return StartFailed(msgspec.structs.replace(error.failure, stages=(*stages, failed)))

"""What passes through the door to containerd: its errors as ours, patience for its work, one blob on its way in.

Source: containerd 1.6, api/services/content, errdefs.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]

from sampan.engine.node.containerd_api import content_pb2
from sampan.model.errors import Failure, FailureKind, PlatformFailed, StartFailed

DEADLINE = 30.0  # seconds; the calls take 0.1 ms, a busy disk has been seen to hold one for seconds
_SLOWEST_DISK = 1 << 20  # bytes per second at which unpacking or verifying counts as stuck
_CUT_OFF = "Internal error from Core"  # gRPC's words for a stream whose connection broke while it was written
_NO_SPACE = "no space left on device"

Labels = Mapping[str, str]


class ContainerdGone(PlatformFailed):
    """containerd does not answer; what was asked may or may not have happened."""


class ContainerdRefused(PlatformFailed):
    """containerd answered with an error."""


class Missing(ContainerdRefused):
    """containerd has nothing of this name."""


class AlreadyThere(ContainerdRefused):
    """containerd has something of this name."""


class Mismatched(ContainerdRefused):
    """The bytes written are not those of the digest or the size that was promised."""


class Locked(ContainerdRefused):
    """Another write has this ref."""


_ERRORS: dict[grpc.StatusCode, type[PlatformFailed]] = {
    grpc.StatusCode.UNAVAILABLE: ContainerdGone,
    grpc.StatusCode.CANCELLED: ContainerdGone,
    grpc.StatusCode.DEADLINE_EXCEEDED: ContainerdGone,
    grpc.StatusCode.NOT_FOUND: Missing,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyThere,
    grpc.StatusCode.FAILED_PRECONDITION: Mismatched,
    grpc.StatusCode.OUT_OF_RANGE: Mismatched,
}


@contextmanager
def translated() -> Iterator[None]:
    """gRPC's errors as ours."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _ours(error.code(), error.details()) from error


def patience(size: int) -> float:
    """Seconds that work on `size` bytes may take."""
    return DEADLINE + size / _SLOWEST_DISK


def _ours(code: grpc.StatusCode, details: str | None) -> Exception:
    said = details or code.name
    if _NO_SPACE in said:
        return StartFailed(
            Failure(
                FailureKind.DISK_FULL,
                "the disk that holds images is full; free some space or delete functions that are not needed",
            )
        )
    if said == _CUT_OFF:
        return ContainerdGone("containerd went away in the middle of a call")
    if code is grpc.StatusCode.UNAVAILABLE and " locked" in said:
        return Locked(f"containerd: {said}")
    return _ERRORS.get(code, ContainerdRefused)(f"containerd: {said}")


class Ingest:
    """One blob on its way in."""

    def __init__(self, call: Any, ref: str, digest: str, size: int) -> None:
        self._call, self._ref, self._digest, self._size = call, ref, digest, size
        self.offset = 0  # bytes that are in

    async def begin(self) -> None:
        answer = await self._exchange(content_pb2.STAT, DEADLINE)
        self.offset = int(answer.offset)

    async def write(self, data: bytes) -> None:
        answer = await self._exchange(content_pb2.WRITE, DEADLINE, data=data)
        self.offset = int(answer.offset)

    async def commit(self, labels: Labels | None = None) -> None:
        """Verify size and digest, and keep it. Raises: Mismatched."""
        await self._exchange(content_pb2.COMMIT, patience(self._size), labels=labels or {})

    def end(self) -> None:
        self._call.cancel()

    async def _exchange(self, action: content_pb2.WriteAction, deadline: float, **more: Any) -> Any:
        request = content_pb2.WriteContentRequest(
            action=action,
            ref=self._ref,
            total=self._size,
            expected=self._digest,
            offset=self.offset,
            **more,
        )
        try:
            async with asyncio.timeout(deadline):
                await self._call.write(request)
                answer = await self._call.read()
            if answer is not EOF:
                return answer
        except TimeoutError as error:
            raise ContainerdGone(f"containerd took no bytes for {deadline:g} s") from error
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # the call has ended; its status, not the failed step, says why
        async with asyncio.timeout(DEADLINE):
            raise _ours(await self._call.code(), await self._call.details())

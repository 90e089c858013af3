"""May this invocation run at all? Answered from the route alone, before anything is waited for."""

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

from sampan.link.messages import FunctionRoute
from sampan.model.errors import FunctionNotActive, InvocationDisabled, Throttled

ACTIVE = "Active"
_UNCOUNTED: AbstractContextManager[None] = nullcontext()


class _Counted:
    """One invocation of a function whose concurrency is reserved, while it lasts."""

    __slots__ = ("_function", "_running")

    def __init__(self, running: dict[str, int], function: str) -> None:
        self._running, self._function = running, function

    def __enter__(self) -> None:
        self._running[self._function] = self._running.get(self._function, 0) + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        left = self._running[self._function] - 1
        if left:
            self._running[self._function] = left
        else:
            del self._running[self._function]


class Limits:
    """Counts invocations, waiting ones included, of functions that reserve concurrency; exact per gateway."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}

    def admit(self, route: FunctionRoute) -> AbstractContextManager[None]:
        """To be held while the invocation lasts. Raises: InvocationDisabled, FunctionNotActive, Throttled."""
        if route.disabled is not None:
            raise InvocationDisabled(route.function, route.disabled)
        if route.state != ACTIVE:
            raise FunctionNotActive(route.function, route.state, route.reason)
        limit = route.reserved_concurrency
        if limit is None:
            return _UNCOUNTED
        if self._running.get(route.function, 0) >= limit:
            raise Throttled(f"reserved concurrency ({limit}) of function '{route.function}' is reached")
        return _Counted(self._running, route.function)

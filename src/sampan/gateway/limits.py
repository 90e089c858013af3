"""May this invocation run at all? Answered from the route alone, before anything is waited for."""

from sampan.link.messages import FunctionRoute
from sampan.model.errors import FunctionNotActive, InvocationDisabled, Throttled

ACTIVE = "Active"


class Counted:
    """One invocation of a function whose concurrency is reserved, until its `end`."""

    __slots__ = ("_function", "_running")

    def __init__(self, running: dict[str, int], function: str) -> None:
        self._running, self._function = running, function
        running[function] = running.get(function, 0) + 1

    def end(self) -> None:
        left = self._running[self._function] - 1
        if left:
            self._running[self._function] = left
        else:
            del self._running[self._function]


class Limits:
    """Counts invocations, waiting ones included, of functions that reserve concurrency; exact per gateway."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}

    def admit(self, route: FunctionRoute) -> Counted | None:
        """To be ended with the invocation; None: it is not counted.

        Raises: InvocationDisabled, FunctionNotActive, Throttled.
        """
        if route.disabled is not None:
            raise InvocationDisabled(route.function, route.disabled)
        if route.state != ACTIVE:
            raise FunctionNotActive(route.function, route.state, route.reason)
        limit = route.reserved_concurrency
        if limit is None:
            return None
        if self._running.get(route.function, 0) >= limit:
            raise Throttled(f"reserved concurrency ({limit}) of function '{route.function}' is reached")
        return Counted(self._running, route.function)

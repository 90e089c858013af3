"""May this invocation run at all? Answered from the route and the quotas, before anything is waited for."""

from sampan.gateway.route import ACTIVE, Endpoint
from sampan.gateway.tally import Tallies, Tally
from sampan.link.messages import FunctionRoute
from sampan.model.errors import FunctionNotActive, InvocationDisabled, Throttled
from sampan.settings import Gateway as Settings

_ACCOUNT = "*"  # no function is called so


class Counted:
    """One invocation that counts towards quotas, until its `end`."""

    __slots__ = ("_tallies",)

    def __init__(self, tallies: list[Tally]) -> None:
        self._tallies = tallies

    def end(self) -> None:
        for tally in self._tallies:
            tally.leave()


class Limits:
    """Quotas on requests: under way (waiting ones included) and per second, of a function and of the account.

    Source: function-compute-api.md §3: 429 `ResourceExhausted` for a limit of the caller's own.
    """

    def __init__(self, settings: Settings, tallies: Tallies) -> None:
        self._tallies = tallies
        self._most, self._rate = settings.account_concurrency, settings.account_rate
        self._function_rate = settings.function_rate
        self._none = not (self._most or self._rate or self._function_rate)

    def admit(self, endpoint: Endpoint) -> Counted | None:
        """To be ended with the invocation; None: nothing bounds it.

        Raises: InvocationDisabled, FunctionNotActive, Throttled.
        """
        if self._none and endpoint.unbounded:
            return None
        route = endpoint.route
        if route.disabled is not None or route.state != ACTIVE:
            self.check(route)
        if self._none and route.reserved_concurrency is None and route.rate is None:
            return None
        return self._count(route)

    def check(self, route: FunctionRoute) -> None:
        """Whether it may be called at all; nothing is counted. Raises: InvocationDisabled, FunctionNotActive."""
        if route.disabled is not None:
            raise InvocationDisabled(route.function, route.disabled)
        if route.state != ACTIVE:
            raise FunctionNotActive(route.function, route.state, route.reason)

    def _count(self, route: FunctionRoute) -> Counted:
        function, reserved = route.function, route.reserved_concurrency
        rate = self._function_rate if route.rate is None else route.rate
        entered: list[Tally] = []
        try:
            if reserved is not None:
                self._enter(entered, f"{function} under way", reserved, "reserved concurrency", function)
            if self._most:
                self._enter(entered, f"{_ACCOUNT} under way", self._most, "concurrency", "")
            if rate:
                self._spend(function, rate, f"function '{function}'")
            if self._rate:
                try:
                    self._spend(_ACCOUNT, self._rate, "the account")
                except Throttled:
                    if rate:
                        self._tallies(f"{function} a second").refund(rate)
                    raise
        except Throttled:
            for tally in entered:
                tally.leave()
            raise
        return Counted(entered)

    def _enter(self, entered: list[Tally], quota: str, limit: int, name: str, function: str) -> None:
        tally = self._tallies(quota)
        if not tally.enter(limit):
            whose = f"function '{function}'" if function else "the account"
            raise Throttled(f"{name} ({limit}) of {whose} is reached")
        entered.append(tally)

    def _spend(self, owner: str, rate: float, whose: str) -> None:
        wait = self._tallies(f"{owner} a second").spend(rate)
        if wait:
            raise Throttled(f"request rate ({rate:g} per second) of {whose} is reached", wait)

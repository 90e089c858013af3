"""What `/healthz` and `/readyz` are answered: made when something changes, not when somebody asks.

`/healthz` says 200 as long as this process answers: who restarts gateways must not do so because something else is
ill. `/readyz` says 503 when requests cannot be served here: control is away, or a part that is needed is ill.
Both tell every part, and why an ill one is.
"""

import msgspec

from sampan.model.health import Condition, Part, condition

STALE = 20.0  # seconds without a word from control after which it is not relied on; it has one every five

AWAY = Part("control", ok=False, why="this gateway has no connection to it")
SILENT = Part("control", ok=False, why=f"it has not said how it is for {STALE:g} seconds")
PRESENT = Part("control", ok=True)


class Answers(msgspec.Struct, frozen=True):
    """To both questions."""

    ready: int  # status
    body: bytes


class Health:
    """The parts, as control told of them last. Times are the loop's."""

    def __init__(self) -> None:
        self._parts: tuple[Part, ...] = ()
        self._heard = 0.0
        self._away = _answers((AWAY,))
        self._silent = _answers((SILENT,))
        self._told = _answers((PRESENT,))

    def joined(self, now: float) -> None:
        """Control has told the routes; of its parts nothing is known yet."""
        self.hear((), now)

    def hear(self, parts: tuple[Part, ...], now: float) -> None:
        """Control told how its parts are."""
        self._heard = now
        if parts != self._parts:
            self._parts, self._told = parts, _answers((PRESENT, *parts))

    def answers(self, connected: bool, now: float) -> Answers:
        """For this moment."""
        if not connected:
            return self._away
        return self._told if now - self._heard <= STALE else self._silent


def _answers(parts: tuple[Part, ...]) -> Answers:
    found = condition(parts)
    body = msgspec.json.encode({"status": found.value, "parts": parts}) + b"\n"
    return Answers(503 if found is Condition.ILL else 200, body)

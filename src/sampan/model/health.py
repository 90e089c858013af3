"""How the platform's parts are, as anybody may be told."""

from enum import Enum

import msgspec


class Condition(Enum):
    """Of the platform, by its parts."""

    OK = "ok"
    DEGRADED = "degraded"  # it serves, but a part that it can do without for a while is ill
    ILL = "ill"


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part. `why` holds no secret, no path and no address: it is told without a signature."""

    name: str
    ok: bool
    why: str = ""  # when it is not
    needed: bool = True  # without it requests cannot be served


def condition(parts: "tuple[Part, ...]") -> Condition:
    """Of all together."""
    ill = [part for part in parts if not part.ok]
    if any(part.needed for part in ill):
        return Condition.ILL
    return Condition.DEGRADED if ill else Condition.OK

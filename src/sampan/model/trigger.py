"""HTTP triggers, as far as a gateway needs to know them."""

from enum import Enum
from typing import ClassVar

import msgspec

from sampan.model.secret import Guarded


class AuthType(Enum):
    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    JWT = "jwt"
    BASIC = "basic"
    BEARER = "bearer"


class TokenLookup(msgspec.Struct, frozen=True):
    """Where a token is looked for: `header:Authorization:Bearer` → place, name, prefix."""

    place: str  # "header" | "cookie" | "query" | "form"
    name: str
    prefix: str = ""


class ClaimPass(msgspec.Struct, frozen=True):
    """A claim that the function is told: `header:name:user` → place, claim, name."""

    place: str  # "header" | "query"
    claim: str
    name: str


class Jwt(Guarded, frozen=True, tag=True):
    """Signed tokens of somebody else's issuer. Source: triggers.md §3."""

    _hidden: ClassVar[tuple[str, ...]] = ("jwks",)  # a key may be a shared secret
    jwks: str  # JSON, `{"keys": […]}`
    lookups: tuple[TokenLookup, ...]
    claims: tuple[ClaimPass, ...] = ()
    paths: tuple[str, ...] = ()  # exact, or with a trailing `*`
    only_paths: bool = False  # True: `paths` alone are checked (blacklist); False: all but these (whitelist)


class Basic(Guarded, frozen=True, tag=True):
    """User names and passwords. Never shown, never logged."""

    _hidden: ClassVar[tuple[str, ...]] = ("users",)
    users: tuple[tuple[str, str], ...]


class Bearer(Guarded, frozen=True, tag=True):
    """Fixed tokens. Never shown, never logged."""

    _hidden: ClassVar[tuple[str, ...]] = ("tokens",)
    tokens: tuple[str, ...]  # the enabled ones


Check = Jwt | Basic | Bearer
"""What a caller is checked against where the auth type asks for more than our own signature."""


class Cors(msgspec.Struct, frozen=True):
    """Which pages of other origins may call. Source: triggers.md §3."""

    origins: tuple[str, ...]  # "*", "https://*" or whole origins
    methods: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()  # "*": any
    exposed: tuple[str, ...] = ()
    credentials: bool = False
    max_age: int = 3600  # seconds


class HttpTrigger(msgspec.Struct, frozen=True):
    """Who may call a function by plain HTTP. Source: triggers.md §3."""

    name: str
    qualifier: str
    methods: tuple[str, ...]
    auth: AuthType
    url_disabled: bool = False
    check: Check | None = None  # for JWT, BASIC and BEARER
    cors: Cors | None = None

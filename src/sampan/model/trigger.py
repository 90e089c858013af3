"""HTTP triggers, as far as a gateway needs to know them."""

from enum import Enum

import msgspec


class AuthType(Enum):
    ANONYMOUS = "anonymous"
    FUNCTION = "function"


class HttpTrigger(msgspec.Struct, frozen=True):
    """Who may call a function by plain HTTP. Source: triggers.md §3."""

    name: str
    qualifier: str
    methods: tuple[str, ...]
    auth: AuthType
    url_disabled: bool = False

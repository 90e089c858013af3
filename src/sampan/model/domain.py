"""Custom domains, as far as a gateway needs to know them. Source: triggers.md §3, function-compute-api.md §7.8."""

from typing import ClassVar

import msgspec

from sampan.model.secret import Guarded
from sampan.model.trigger import AuthType, Check, Cors


class Rewrite(msgspec.Struct, frozen=True):
    """A rule that changes path and query before the function sees them."""

    kind: str  # "equal" | "wildcard" | "regex", tried in this order
    match: str
    replacement: str


class PathRoute(msgspec.Struct, frozen=True):
    """A path of a domain, and who answers there."""

    path: str  # exact, or a prefix: "/api/*"
    function: str
    qualifier: str
    methods: tuple[str, ...] = ()  # empty: those of the function's trigger
    rewrites: tuple[Rewrite, ...] = ()


class Certificate(Guarded, frozen=True):
    """For TLS. The key is never shown, never logged."""

    _hidden: ClassVar[tuple[str, ...]] = ("private_key",)
    name: str
    chain: str  # PEM, the domain's own first
    private_key: str  # PEM


class Domain(msgspec.Struct, frozen=True):
    """One custom domain. Its auth type and CORS rules count beside those of the functions' triggers."""

    name: str  # lower case; "*.example.org": one level of names below
    protocols: tuple[str, ...]  # of "HTTP", "HTTPS"
    routes: tuple[PathRoute, ...]
    auth: AuthType = AuthType.ANONYMOUS
    check: Check | None = None
    cors: Cors | None = None
    certificate: Certificate | None = None
    tls_min: str = "TLSv1.2"
    tls_max: str = "TLSv1.3"

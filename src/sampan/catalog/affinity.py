"""Session affinity as users ask for it: two fields, of which the second is JSON in a string. Checked here.

Source: function-compute-api.md §7.1 (`sessionAffinity`), §7.12 (`sessionAffinityConfig`).
"""

import re

import msgspec

from sampan.catalog.configuration import Configuration
from sampan.model.affinity import Affinity, AffinityKind
from sampan.model.errors import FieldNotSupported, InvalidArgument
from sampan.wire.shapes import SessionAffinityConfig, read

NONE = "NONE"
DEFAULT_TTL = 21600  # seconds; these three are the product's
DEFAULT_IDLE = 1800  # seconds
DEFAULT_PER_INSTANCE = 20
KIND, CONFIG = "sessionAffinity", "sessionAffinityConfig"
_KINDS = {kind.value: kind for kind in AffinityKind}
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9_-]{4,39}\Z")
_OURS = ("x-fc-", "x-acs-", "x-forwarded-")
_TAKEN = frozenset(
    (
        "accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type",
        "cookie", "expect", "forwarded", "keep-alive", "proxy-authorization", "proxy-connection", "set-cookie",
        "trailer", "transfer-encoding", "upgrade",
    )
)  # fmt: skip
_RANGES = {
    "session_concurrency_per_instance": ("sessionConcurrencyPerInstance", "per_instance", 1, 200),
    "session_ttl_in_seconds": ("sessionTTLInSeconds", "ttl", 1, 21600),
    "session_idle_timeout_in_seconds": ("sessionIdleTimeoutInSeconds", "idle", 0, 21600),
}


def affinity(of: Configuration) -> Affinity | None:
    """What the configuration asks for; None: nothing. Raises: InvalidArgument, FieldNotSupported."""
    if of.session_affinity in (None, "", NONE):
        return None  # a config that is kept from before asks for nothing then
    kind = _KINDS.get(of.session_affinity)
    if kind is None:
        allowed = "', '".join((NONE, *_KINDS))
        raise FieldNotSupported(KIND, of.session_affinity, f"supported are '{allowed}'")
    given = read(of.session_affinity_config, SessionAffinityConfig, CONFIG) if of.session_affinity_config else None
    given = given or SessionAffinityConfig()
    said = {"per_instance": DEFAULT_PER_INSTANCE}
    for attribute, (name, field, low, high) in _RANGES.items():
        value = getattr(given, attribute)
        if value is None:
            continue
        if not low <= value <= high:
            raise InvalidArgument(f"{CONFIG}.{name}", value, f"{low}–{high}")
        said[field] = value
    ttl = said.setdefault("ttl", DEFAULT_TTL)
    if said.setdefault("idle", min(DEFAULT_IDLE, ttl)) > ttl:
        field = f"{CONFIG}.sessionIdleTimeoutInSeconds"
        raise InvalidArgument(field, said["idle"], f"at most {ttl}, the session's whole life")
    _refuse_foreign(given)
    return msgspec.convert(
        {"kind": kind, "header": _header(kind, given), "reuse": not given.disable_session_id_reuse, **said},
        Affinity,
    )


def _header(kind: AffinityKind, given: SessionAffinityConfig) -> str:
    field, name = f"{CONFIG}.affinityHeaderFieldName", given.affinity_header_field_name
    if kind is AffinityKind.COOKIE:
        if name:
            raise InvalidArgument(field, name[:80], f"no such member with {KIND} '{kind.value}'")
        return ""
    allowed = "5–40 letters, digits, '-' and '_' beginning with a letter, not beginning with x-fc-"
    if not name or not _HEADER.match(name) or name.lower().startswith(_OURS):
        raise InvalidArgument(field, name and name[:80], allowed)
    if name.lower() in _TAKEN:
        raise InvalidArgument(field, name, "a header that has no meaning in HTTP yet")
    return name.lower()


def _refuse_foreign(given: SessionAffinityConfig) -> None:
    if given.sse_endpoint_path:
        field = f"{CONFIG}.sseEndpointPath"
        raise FieldNotSupported(field, given.sse_endpoint_path, "sessions are known by a cookie or by a header")

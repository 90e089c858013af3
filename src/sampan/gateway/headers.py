"""Which header lines pass between a client and a function, and which end at the gateway.

Source: RFC 9110 §7.6.1 (those between two neighbours only), container-contract.md A2.1, A2.2 (those that are ours).
"""

from sampan.telemetry.outgoing import REPLACED

HOP_BY_HOP = frozenset(
    (
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"te", b"trailer",
        b"transfer-encoding", b"upgrade", b"expect", b"http2-settings", b"content-length",
    )
)  # fmt: skip
SET_ANEW = HOP_BY_HOP | REPLACED | {b"host", b"forwarded", b"x-forwarded-for"}
"""Of a request: not passed on as they came; the gateway says them itself."""

ANSWER_HOP_BY_HOP = frozenset(
    (
        b"connection", b"content-length", b"keep-alive", b"upgrade", b"transfer-encoding", b"proxy-connection",
        b"trailer", b"te",
    )
)  # fmt: skip
ANSWER_SET_ANEW = ANSWER_HOP_BY_HOP | {b"date", b"server"}
"""Of a function's answer: `Date` is set anew, lengths by how the answer is framed."""


def to_function(lower: bytes) -> bool:
    """Whether a caller's header reaches the function; one that `Connection` names does not in any case.

    `x_fc_request_id`: many servers make no difference between `_` and `-`, so neither may we.
    """
    if lower in SET_ANEW or lower[:5] == b"x-fc-":
        return False
    if b"_" in lower:
        name = lower.replace(b"_", b"-")
        return not (name in SET_ANEW or name.startswith((b"x-fc-", b"x-forwarded-")))
    return True


def to_caller(lower: bytes) -> bool:
    """Whether a function's header reaches its caller."""
    return lower not in ANSWER_SET_ANEW and lower[:5] != b"x-fc-"

"""Who reports: the instance behind an address."""

import ipaddress
from collections.abc import Callable

import msgspec

from sampan.model.errors import SenderUnknown


class Sender(msgspec.Struct, frozen=True):
    """An instance that has an address on this machine."""

    function: str  # "": a program on this machine itself
    version: str = ""  # "LATEST" or a published id
    instance: str = ""


Who = Callable[[str], Sender | None]
"""The instance that has an address now; None: none has."""

LOCAL = Sender("")
STRANGER = Sender("?")  # whom nobody knows; no function is called so


def sender_at(address: str, who: Who) -> Sender:
    """Whose an address is. Loopback is the machine's own, and belongs to no function. Raises: SenderUnknown."""
    found = who(address)
    if found is not None:
        return found
    if _is_loopback(address):
        return LOCAL
    raise SenderUnknown(address)


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback

"""Which addresses an endpoint that a function names may lead to.

The collector stands outside the sandboxes, so a URL of a function's owner must not open what its sandbox cannot
reach. An address is judged when a connection to it is made, after its name was resolved: what the name resolves to
at another time does not matter.

    never            link-local, clouds' metadata, multicast, reserved and unspecified addresses; the platform's own
                     listeners; the sandboxes' networks
    if the operator  this machine's own addresses, loopback among them: what listens there was often never meant for
    allows           anybody else (`telemetry.export_local`)
    always           the rest, private networks too: that is where a Jaeger of one's own stands

An IPv6 address with an IPv4 address in it (mapped, 6to4, NAT64, Teredo) is judged by both.
"""

import errno
import socket
from collections.abc import Iterable
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_METADATA = frozenset(
    ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud; 169.254.169.254 of the others is link-local
        "168.63.129.16",  # Azure
        "fd00:ec2::254",  # AWS
        "fd20:ce::254",  # Google Cloud
        "fd00:42::42",  # Scaleway
    )
)
_NEVER = tuple(ip_network(text) for text in ("0.0.0.0/8", "192.0.0.0/24", "240.0.0.0/4", "fec0::/10"))


class AddressRefused(OSError):
    """An endpoint leads to where exports of functions may not go."""

    MARK = "spans of functions are not sent there"  # tells it where several errors became one text

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(errno.EACCES, f"{address} is {reason}; {self.MARK}")


class Guard:
    """Judges addresses.

    local: may this machine's own be reached?  listeners: (address, port) of the platform; an unspecified address
    stands for all of this machine's.  networks: that are never reached, those of the sandboxes.
    """

    def __init__(
        self,
        local: bool = False,
        listeners: Iterable[tuple[str, int]] = (),
        networks: Iterable[_Network] = (),
    ) -> None:
        self._local, self._networks = local, tuple(networks)
        self._listeners = frozenset((ip_address(address), port) for address, port in listeners)

    def check(self, address: str, port: int) -> None:
        """Raises: AddressRefused."""
        if (reason := self.objection(address, port)) is not None:
            raise AddressRefused(address, reason)

    def objection(self, address: str, port: int) -> str | None:
        """Why not; None: it may be reached."""
        given = ip_address(address.partition("%")[0])
        for one in (given, *_embedded(given)):
            if (reason := _never(one)) is not None:
                return reason
            if any(one.version == network.version and one in network for network in self._networks):
                return "in a network of the sandboxes"
            if (reason := self._of_this_machine(one, port)) is not None:
                return reason
        return None

    def _of_this_machine(self, address: _Address, port: int) -> str | None:
        ports = {listener for listener, theirs in self._listeners if theirs == port}
        if address in ports:
            return "a listener of the platform"
        if not address.is_loopback and not _is_own(address):
            return None
        if not self._local:
            return "this machine's own (telemetry.export_local allows it)"
        if any(listener.is_unspecified for listener in ports):
            return "a listener of the platform"
        return None


def _never(address: _Address) -> str | None:
    if address in _METADATA:
        return "a cloud's metadata service"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_unspecified or any(
        address in network for network in _NEVER if network.version == address.version
    ):
        return "reserved"
    return None


def _embedded(address: _Address) -> list[_Address]:
    if not isinstance(address, IPv6Address):
        return []
    found: list[_Address | None] = [address.ipv4_mapped, address.sixtofour]
    if address.teredo is not None:
        found += address.teredo
    number = int(address)
    if address in _NAT64 or (number >> 32 == 0 and number > 1):  # the latter: IPv4-compatible, out of use
        found.append(IPv4Address(number & 0xFFFFFFFF))
    return [one for one in found if one is not None]


def _is_own(address: _Address) -> bool:
    """Only this machine's own addresses can be bound to."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True

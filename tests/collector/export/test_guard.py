"""Where a function's endpoint may lead, judged by address."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.collector.export.guard import AddressRefused, Guard, ip_network

LINK_LOCAL = (
    "169.254.169.254",
    "169.254.7.1",
    "fe80::1",
    "fe80::1%lo",
    "::ffff:169.254.169.254",
    "2002:a9fe:a9fe::1",
)
METADATA = ("100.100.100.200", "168.63.129.16", "fd00:ec2::254", "fd20:ce::254", "::ffff:100.100.100.200")
RESERVED = ("0.0.0.0", "0.1.2.3", "::", "240.0.0.1", "255.255.255.255", "192.0.0.192", "::ffff:0.0.0.0")
MULTICAST = ("224.0.0.1", "239.1.1.1", "ff02::1")
LOOPBACK = ("127.0.0.1", "127.5.4.3", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::7f00:1")
OTHERS = ("10.1.2.3", "192.168.1.20", "172.20.0.9", "100.64.1.1", "fd12:3456::1", "203.0.113.9", "2001:db8::1")


@pytest.mark.parametrize("address", [*LINK_LOCAL, *METADATA, *RESERVED, *MULTICAST])
def test_what_nobody_should_reach_is_refused_whatever_is_allowed(address: str) -> None:
    for guard in (Guard(), Guard(local=True)):
        with pytest.raises(AddressRefused):
            guard.check(address, 80)


@pytest.mark.parametrize("address", OTHERS)
def test_private_networks_and_the_world_are_allowed(address: str) -> None:
    Guard().check(address, 14268)


@pytest.mark.parametrize("address", LOOPBACK)
def test_this_machine_is_reached_only_if_the_operator_allows(address: str) -> None:
    with pytest.raises(AddressRefused, match=r"this machine's own \(telemetry.export_local allows it\)"):
        Guard().check(address, 14268)
    Guard(local=True).check(address, 14268)


def test_an_address_of_an_interface_is_this_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What can be bound to is this machine's; 192.0.2.1 (for documentation) never is, until the kernel says so."""
    assert Guard().objection("192.0.2.1", 80) is None
    monkeypatch.setattr(socket.socket, "bind", lambda self, address: None)
    assert Guard().objection("192.0.2.1", 80) == "this machine's own (telemetry.export_local allows it)"
    assert Guard(local=True).objection("192.0.2.1", 80) is None


def test_the_platforms_own_listeners_are_refused_even_if_this_machine_is_allowed() -> None:
    guard = Guard(local=True, listeners=[("0.0.0.0", 9000), ("127.0.0.1", 5000), ("10.9.9.9", 4318)])
    assert guard.objection("127.0.0.1", 9000) == "a listener of the platform"
    assert guard.objection("127.0.0.1", 5000) == "a listener of the platform"
    assert guard.objection("::ffff:127.0.0.1", 5000) == "a listener of the platform"
    assert guard.objection("10.9.9.9", 4318) == "a listener of the platform"
    assert guard.objection("10.9.9.9", 4317) is None
    assert guard.objection("127.0.0.1", 14268) is None
    assert guard.objection("10.1.1.1", 9000) is None


def test_sandboxes_are_refused() -> None:
    guard = Guard(networks=[ip_network("10.64.0.0/16")])
    assert guard.objection("10.64.3.4", 80) == "in a network of the sandboxes"
    assert guard.objection("::ffff:10.64.3.4", 80) == "in a network of the sandboxes"
    assert guard.objection("10.65.3.4", 80) is None


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_is_judged_as_itself(address: object) -> None:
    guard = Guard(local=True, networks=[ip_network("10.64.0.0/16")])
    if guard.objection(str(address), 80) is not None:
        assert guard.objection(f"::ffff:{address}", 80) is not None
        assert guard.objection(f"64:ff9b::{address}", 80) is not None

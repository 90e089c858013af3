"""What the intake listens on, and how it comes to the process that serves it."""

import asyncio
import os
import socket
import sys

import pytest

from sampan.collector.intake.sockets import IntakeSockets, Ports, listen
from sampan.collector.senders import LOCAL, Sender, sender_at
from sampan.model.errors import SenderUnknown
from tests.collector.intake.conftest import ANY


def test_an_address_that_is_not_there_yet_can_be_listened_on() -> None:
    sockets = listen("192.0.2.77", ANY)  # RFC 5737
    assert {one.getsockname()[0] for one in (*sockets.compact, *sockets.http)} == {"192.0.2.77"}
    sockets.close()


def test_a_port_in_use_is_named_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}: Address already in use"):
            listen("127.0.0.1", Ports(0, 0, 0, (0, port)))
        assert len(os.listdir("/proc/self/fd")) == before


async def test_a_child_gets_them_as_descriptors() -> None:
    sockets = listen("127.0.0.1", ANY) + listen("127.0.0.2", ANY)
    child = (
        "import sys; from sampan.collector.intake.sockets import IntakeSockets as S; s = S.of(sys.argv[1:]);"
        "print([[one.getsockname() for one in getattr(s, k)] for k in S.__slots__], s.arguments() == sys.argv[1:])"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        child,
        *sockets.arguments(),
        pass_fds=sockets.descriptors(),
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    expected = [[one.getsockname() for one in getattr(sockets, kind)] for kind in IntakeSockets.__slots__]
    assert told.decode().strip() == f"{expected} True"
    sockets.close()


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback_is_the_machines_own(address: str) -> None:
    assert sender_at(address, {}.get) == LOCAL
    assert sender_at(address, {address: Sender("f")}.get) == Sender("f")


@pytest.mark.parametrize("address", ["10.0.0.1", "::", "fe80::1%eth0", "", "nonsense"])
def test_every_other_address_is_somebodys_or_refused(address: str) -> None:
    assert sender_at(address, {address: Sender("f")}.get) == Sender("f")
    with pytest.raises(SenderUnknown, match="only functions report here"):
        sender_at(address, {}.get)

"""Jaeger's datagrams. Nobody is answered: what cannot be taken is counted. Source: tracing-contract.md §5.4."""

import asyncio
import os
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sampan.collector.intake.judge import DATAGRAM_COST, Judge, Reason
from sampan.model.errors import Malformed, SenderUnknown
from sampan.wire.jaeger import decode_datagram


def lost(sockets: Sequence[socket.socket]) -> int:
    """Datagrams that the kernel dropped because they came faster than they were read. Source: proc_net_udp(5)."""
    inodes = {str(os.fstat(one.fileno()).st_ino) for one in sockets if one.fileno() >= 0}
    count = 0
    for table in ("/proc/net/udp", "/proc/net/udp6"):
        with suppress(FileNotFoundError):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            count += sum(int(row[_DROPS]) for row in rows if row[_INODE] in inodes)
    return count


_INODE, _DROPS = 9, 12  # columns


class Datagrams(asyncio.DatagramProtocol):
    """One socket's."""

    def __init__(self, judge: Judge, compact: bool) -> None:
        self._judge, self._compact = judge, compact

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        judge = self._judge
        try:
            sender = judge.sender(addr[0])
        except SenderUnknown:
            return  # the judge has counted it
        if not judge.affords(sender):
            judge.drop(sender, Reason.BYTES)
            return
        judge.charge(sender, max(len(data), DATAGRAM_COST))
        began = time.thread_time()
        try:
            judge.take_spans(sender, decode_datagram(data, self._compact))
        except Malformed:
            judge.drop(sender, Reason.MALFORMED)
        finally:
            judge.charge_time(sender, time.thread_time() - began)

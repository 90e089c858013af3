"""Jaeger's datagrams. Nobody is answered: what cannot be taken is counted. Source: tracing-contract.md §5.4."""

import asyncio

from sampan.collector.intake.judge import DATAGRAM_COST, Judge, Reason
from sampan.model.errors import Malformed, SenderUnknown
from sampan.wire.jaeger import decode_datagram


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
        try:
            judge.take_spans(sender, decode_datagram(data, self._compact))
        except Malformed:
            judge.drop(sender, Reason.MALFORMED)

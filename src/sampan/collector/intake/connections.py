"""How many connections there may be: of everybody, and of each address."""

from sampan.collector.intake.judge import Judge, Reason
from sampan.collector.intake.quota import Room
from sampan.collector.senders import STRANGER
from sampan.model.errors import SenderUnknown

MOST = 2048
EACH = 64  # of one address; an instance's exporters use one or two each


class Connections:
    """HTTP's and gRPC's together."""

    def __init__(self, judge: Judge) -> None:
        self._judge, self._room = judge, Room(MOST, EACH)

    def enter(self, address: str) -> str:
        """What to `leave` with; "": one too many, or nobody's."""
        address = address or "?"
        if self._room.enter(address):
            return address
        try:
            sender = self._judge.sender(address)
        except SenderUnknown:
            sender = STRANGER
        self._judge.drop(sender, Reason.CONNECTIONS)
        return ""

    def leave(self, address: str) -> None:
        self._room.leave(address)

"""An instance that is leased, and the right to have a request in it."""

import asyncio
import time
from abc import ABC, abstractmethod
from types import TracebackType

from sampan.gateway.frames import Frames
from sampan.gateway.known import Heads
from sampan.gateway.upstream import Upstream
from sampan.link.messages import Grant
from sampan.model.errors import Failure


class Instance:
    """A leased instance."""

    __slots__ = (
        "busy", "ended", "failure", "frames", "freeze_delay", "grant", "id", "idle_since", "last_used", "leaving",
        "lost", "opening", "reports", "slots", "startup", "timer", "unseen", "upstream", "version",
    )  # fmt: skip

    def __init__(self, grant: Grant, freeze_delay: float, header_limit: int, heads: Heads[None]) -> None:
        self.grant = grant
        self.id, self.version = grant.instance, grant.version
        self.slots = grant.slots
        self.busy = 0
        self.freeze_delay = freeze_delay
        self.idle_since = 0.0
        self.last_used = time.time_ns()
        self.leaving = False  # takes nothing new
        self.lost = False  # control has been told that it is gone for us; no GiveBack follows
        self.ended = asyncio.Event()  # control has said so
        self.failure: Failure | None = None  # how; None: it was ended on purpose
        self.timer: asyncio.TimerHandle | None = None
        self.startup = grant.startup
        self.reports = False  # it had a request in a sampled trace, so it may have spans to report
        self.opening: asyncio.Task[None] | None = None  # waits for its port
        self.unseen = 0  # slots to be counted as seen when that is over
        self.upstream = Upstream((grant.host, grant.port), header_limit, heads)
        self.frames = Frames(grant.log_path, alone=grant.slots == 1)


class Holder(ABC):
    """Whose instance it is."""

    @abstractmethod
    def release(self, instance: Instance) -> None:
        """One request less in it."""


class Slot:
    """The right to have one request in an instance, while the `with` lasts."""

    __slots__ = ("_leases", "cold", "instance")

    def __init__(self, leases: Holder, instance: Instance, cold: bool) -> None:
        self._leases, self.instance, self.cold = leases, instance, cold

    def __enter__(self) -> Instance:
        return self.instance

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._leases.release(self.instance)

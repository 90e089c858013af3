"""Cold starts whose stages come after their record: their spans wait for them, so that the trace comes whole.

Control tells the stages beside the gateway's record. Where it is slow, or was killed, they are late, or never come.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable

import msgspec

from sampan.model.instance import Stage
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.names import InstanceId

PATIENCE = 10.0  # seconds that spans wait
MOST = 2_000  # instances waited for at once

Make = Callable[[InvocationRecord], object]


class LateStages:
    """make: told each record once, with the stages of its start where these came."""

    def __init__(self, make: Make) -> None:
        self._make = make
        self._waiting: OrderedDict[InstanceId, list[InvocationRecord]] = OrderedDict()

    def wait(self, record: InvocationRecord) -> bool:
        """Whether its stages are missing, and it is told to `make` later."""
        if not record.cold or record.startup or not record.instance or record.outcome is Outcome.START_FAILED:
            return False
        instance = InstanceId(record.instance)
        if instance in self._waiting:
            self._waiting[instance].append(record)
            return True
        self._waiting[instance] = [record]
        asyncio.get_running_loop().call_later(PATIENCE, self.started, instance, ())
        if len(self._waiting) > MOST:
            self.started(next(iter(self._waiting)), ())
        return True

    def started(self, instance: InstanceId, startup: tuple[Stage, ...]) -> None:
        """How an instance started; (): nobody says."""
        for record in self._waiting.pop(instance, ()):
            self._make(msgspec.structs.replace(record, startup=startup))

    def close(self) -> None:
        """What still waits is told as it is."""
        for instance in list(self._waiting):
            self.started(instance, ())

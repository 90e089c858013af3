"""The instances there are: their states, and what each was seen to use."""

from collections import Counter as Counts
from collections.abc import Callable, Iterator

from sampan.metrics.catalogue import Catalogue
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId

NEW = (InstanceState.CREATING, InstanceState.CREATED, InstanceState.STARTING)


class Instance:
    """cpu_ns: used until the last look, -1: not looked at yet. rate: cores. ended: invocations since the look."""

    __slots__ = ("cpu_ns", "ended", "function", "looked", "memory", "rate", "spent", "state", "version")

    def __init__(self, function: str, version: str, state: InstanceState, now: int) -> None:
        self.function, self.version, self.state = function, version, state
        self.cpu_ns = 0 if state in NEW else -1
        self.looked = now
        self.rate = 0.0
        self.memory = 0
        self.ended = 0
        self.spent = 0  # nanoseconds of CPU that no invocation was told of yet


class Instances:
    """clock: Unix nanoseconds."""

    def __init__(self, catalogue: Catalogue, clock: Callable[[], int]) -> None:
        self._catalogue, self._clock = catalogue, clock
        self.by_id: dict[str, Instance] = {}

    def tell(self, id_: InstanceId, function: str, version: str, state: InstanceState) -> None:
        """There is this instance, in this state."""
        if state is InstanceState.GONE:
            self.gone(id_)
        elif (known := self.by_id.get(id_)) is not None:
            known.state = state
        else:
            self.by_id[id_] = Instance(function, version, state, self._clock())

    def gone(self, id_: InstanceId) -> None:
        self.by_id.pop(id_, None)

    def stats(self, id_: InstanceId, cpu_ns: int, memory: int) -> None:
        """What it has used since it was made, and holds now. One that is not known is passed over."""
        instance, now = self.by_id.get(id_), self._clock()
        if instance is None:
            return
        instance.memory = memory
        if instance.cpu_ns >= 0:
            used, elapsed = max(0, cpu_ns - instance.cpu_ns), now - instance.looked
            instance.rate = used / elapsed if elapsed > 0 else 0.0
            self._catalogue.fc_vcpu.at(instance.function).value += used / 1e9
            self._share_out(instance, used)
        instance.cpu_ns, instance.looked = cpu_ns, now

    def _share_out(self, instance: Instance, used: int) -> None:
        instance.spent += used
        if not instance.ended:
            return  # the invocations under way will be told
        labels = (instance.function, instance.version)
        self._catalogue.cpu_usage.at(*labels).observe(instance.spent / 1e9 / instance.ended, instance.ended)
        self._catalogue.mem_usage.at(*labels).observe(instance.memory, instance.ended)
        instance.ended = instance.spent = 0

    def of(self, function: str) -> Iterator[Instance]:
        return (instance for instance in self.by_id.values() if instance.function == function)

    def by_function(self) -> dict[str, list[Instance]]:
        found: dict[str, list[Instance]] = {}
        for instance in self.by_id.values():
            found.setdefault(instance.function, []).append(instance)
        return found


def states(instances: list[Instance]) -> dict[str, int]:
    """How many are in each state that any is in."""
    return dict(Counts(instance.state.value for instance in instances))

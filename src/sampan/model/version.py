"""A version: everything needed to run one state of a function, and nothing that can change."""

from typing import ClassVar

import msgspec

from sampan.model.affinity import Affinity
from sampan.model.image import Image
from sampan.model.names import VersionKey
from sampan.model.secret import Guarded


class Hook(msgspec.Struct, frozen=True):
    """A lifecycle hook that the function asked for. Source: container-contract.md A3."""

    timeout: float  # seconds
    command: tuple[str, ...] = ()  # initializer only: run this instead of POST /initialize


class HealthCheck(msgspec.Struct, frozen=True):
    """Source: container-contract.md A4; ranges in function-compute-api.md §7.1."""

    path: str
    initial_delay: float = 0.0  # seconds, all four below too
    period: float = 3.0
    timeout: float = 1.0
    failures: int = 3
    successes: int = 1


class Version(Guarded, msgspec.Struct, frozen=True):
    """One runnable state of a function. The scheduler starts it, the gateway routes to it."""

    _hidden: ClassVar[tuple[str, ...]] = ("environment",)
    key: VersionKey
    function: str
    version: str  # "LATEST" or a published id
    image: Image
    entrypoint: tuple[str, ...] = ()  # empty: the image's own
    command: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    port: int = 9000
    cpu: float = 0.35  # vCPU
    memory_mb: int = 512
    disk_mb: int = 512
    timeout: float = 3.0  # seconds for one invocation
    concurrency: int = 1  # slots per instance
    handler: str = ""
    initializer: Hook | None = None
    pre_stop: Hook | None = None
    health_check: HealthCheck | None = None
    keepalive: float = 300.0  # seconds an idle instance is kept
    internet: bool = True
    affinity: Affinity | None = None  # sessions keep to their instances
    sampling: float | None = None  # share of new traces that is kept; None: as the settings say

"""The headers by which a container learns what it runs as, whoever calls it.

Source: container-contract.md A2.1.
"""

import re
from typing import Protocol

from sampan.model.names import LATEST

_UNSAFE = re.compile(r"[\x00-\x1f\x7f]")


class Told(Protocol):
    """What a container is told of its version."""

    @property
    def function(self) -> str: ...
    @property
    def version(self) -> str:
        """`LATEST`, or a published id."""

    @property
    def handler(self) -> str: ...
    @property
    def memory_mb(self) -> int: ...
    @property
    def timeout(self) -> float:
        """Seconds."""


def function_headers(account: str, region: str, version: Told, qualifier: str, control_path: str) -> dict[str, str]:
    """The part of a call's headers that is the same for every call of a version under a qualifier.

    control_path: which kind of call it is: `/invoke`, `/http-invoke`, `/initialize` or `/pre-stop`.
    """
    told = {
        "X-Fc-Control-Path": control_path,
        "X-Fc-Function-Name": version.function,
        "X-Fc-Function-Handler": version.handler,
        "X-Fc-Function-Memory": str(version.memory_mb),
        "X-Fc-Function-Timeout": f"{version.timeout:g}",
        "X-Fc-Region": region,
        "X-Fc-Account-Id": account,
        "X-Fc-Qualifier": qualifier,
        "X-Fc-Version-Id": "" if version.version == LATEST else version.version,
    }
    return {name: _UNSAFE.sub("", value) for name, value in told.items()}

"""Names and identifiers: their alphabets, and how new ones are made."""

import os
import random
import re
import secrets
import time
from typing import Final, NewType

VersionKey = NewType("VersionKey", str)
"""One immutable, runnable state of a function: `function@version#revision`, e.g. `web@LATEST#7`, `web@3#7`."""

InstanceId = NewType("InstanceId", str)
"""`c-` and 24 hex digits; also the sandbox's id, its cgroup's and its directory's name."""

RequestId = NewType("RequestId", str)
"""`1-<seconds, 8 hex>-<24 hex>`. Source: function-compute-api.md §3.1."""

LATEST = "LATEST"
"""The qualifier of the mutable function."""

FUNCTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
TRIGGER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}\Z")
ALIAS_NAME = FUNCTION_NAME
VERSION_ID = re.compile(r"[1-9][0-9]{0,9}\Z")


def version_key(function: str, version: str, revision: int) -> VersionKey:
    """`version`: `LATEST` or a published version's id."""
    return VersionKey(f"{function}@{version}#{revision}")


def split_version_key(key: VersionKey) -> tuple[str, str, int]:
    """The function, version and revision that `version_key` put together."""
    function, _, rest = key.partition("@")
    version, _, revision = rest.partition("#")
    return function, version, int(revision)


def new_instance_id() -> InstanceId:
    return InstanceId(f"c-{secrets.token_hex(12)}")


class _Ids:
    """Request ids. Their digits are drawn many at once: one draw costs more than all else of an id."""

    __slots__ = ("_at", "_drawn", "_prefix", "_second")

    def __init__(self) -> None:
        self._drawn, self._at = "", 0
        self._second, self._prefix = -1, ""

    def at(self, second: int) -> str:
        """second: Unix time."""
        if second != self._second:
            self._second, self._prefix = second, f"1-{second:08x}-"
        begin = self._at
        if begin == len(self._drawn):
            self._drawn, begin = random.randbytes(12 * _DRAWN).hex(), 0
        self._at = end = begin + 24
        return self._prefix + self._drawn[begin:end]

    def forget(self) -> None:
        """In a forked process: what is left was drawn for its parent."""
        self._drawn, self._at = "", 0


_DRAWN: Final = 256  # ids
_IDS: Final = _Ids()
os.register_at_fork(after_in_child=_IDS.forget)


def new_request_id(now: int = 0) -> RequestId:
    """Of 96 random bits: unique, not secret. No system call: one is made for every request.

    now: Unix ns, of who has read the clock already.
    """
    return RequestId(_IDS.at((now or time.time_ns()) // 1_000_000_000))


def trace_ids(request: RequestId) -> tuple[str, str, str]:
    """Of the trace that a request begins: of itself, of the platform's span of it all, of the time in the function.

    The request's random digits make all of them: a span has 16 of 24, so nobody else has them, and drawing others
    would take longer than all the rest. Who knows the request need not be told them.
    """
    digits = request[11:]
    root, invocation = digits[:16], digits[8:]
    if root == _NO_SPAN or invocation == _NO_SPAN:
        root, invocation = _ONE, _TWO
    return request[2:10] + digits, root, invocation


_NO_SPAN: Final = "0" * 16
_ONE: Final = "0" * 15 + "1"
_TWO: Final = "0" * 15 + "2"


def function_arn(region: str, account: str, function: str, qualifier: str = "") -> str:
    """`acs:fc:{region}:{account}:functions/{name}[/{qualifier}]`. Source: function-compute-api.md §4."""
    tail = f"/{qualifier}" if qualifier else ""
    return f"acs:fc:{region}:{account}:functions/{function}{tail}"

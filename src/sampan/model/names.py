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

_NO_SPAN: Final = "0" * 16

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


class _Digits:
    """Random hex digits, drawn many at once: one draw costs more than all else of an id."""

    __slots__ = ("_at", "_drawn", "_prefix", "_second")

    def __init__(self) -> None:
        self._drawn, self._at = "", 0
        self._second, self._prefix = -1, ""

    def take(self, count: int) -> str:
        at = self._at
        if at + count > len(self._drawn):
            self._drawn, at = random.randbytes(_DRAWN).hex(), 0
        self._at = at + count
        return self._drawn[at : at + count]

    def request(self, second: int) -> str:
        if second != self._second:
            self._second, self._prefix = second, f"1-{second:08x}-"
        return self._prefix + self.take(24)

    def forget(self) -> None:
        """In a forked process: what is left was drawn for its parent."""
        self._drawn, self._at = "", 0


_DRAWN: Final = 3072  # bytes
_DIGITS: Final = _Digits()
os.register_at_fork(after_in_child=_DIGITS.forget)


def new_request_id(now: int = 0) -> RequestId:
    """Of 96 random bits: unique, not secret. No system call: one is made for every request.

    now: Unix ns, of who has read the clock already.
    """
    return RequestId(_DIGITS.request((now or time.time_ns()) // 1_000_000_000))


def new_span_id() -> str:
    """16 hex digits, not all of them zero. As random as a request's id."""
    drawn = _DIGITS.take(16)
    return drawn if drawn != _NO_SPAN else new_span_id()


def function_arn(region: str, account: str, function: str, qualifier: str = "") -> str:
    """`acs:fc:{region}:{account}:functions/{name}[/{qualifier}]`. Source: function-compute-api.md §4."""
    tail = f"/{qualifier}" if qualifier else ""
    return f"acs:fc:{region}:{account}:functions/{function}{tail}"

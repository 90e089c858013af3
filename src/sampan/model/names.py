"""Names and identifiers: their alphabets, and how new ones are made."""

import random
import re
import secrets
import time
from typing import NewType

VersionKey = NewType("VersionKey", str)
"""One immutable, runnable state of a function: `function@version#revision`, e.g. `web@LATEST#7`, `web@3#7`."""

InstanceId = NewType("InstanceId", str)
"""`c-` and 24 hex digits; also the sandbox's id, its cgroup's and its directory's name."""

RequestId = NewType("RequestId", str)
"""`1-<seconds, 8 hex>-<24 hex>`. Source: function-compute-api.md §3.1."""

_now, _draw = time.time, random.getrandbits

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


def new_request_id() -> RequestId:
    """Of 96 random bits: unique, not secret. No system call: one is made for every request."""
    return RequestId(f"1-{int(_now()):08x}-{_draw(96).to_bytes(12, 'big').hex()}")


def function_arn(region: str, account: str, function: str, qualifier: str = "") -> str:
    """`acs:fc:{region}:{account}:functions/{name}[/{qualifier}]`. Source: function-compute-api.md §4."""
    tail = f"/{qualifier}" if qualifier else ""
    return f"acs:fc:{region}:{account}:functions/{function}{tail}"

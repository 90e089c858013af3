"""Where the client finds its endpoint and access key, and where each of them came from.

Order: arguments, then the environment (`SAMPAN_ENDPOINT`, …), then the credentials file that `sampan up` writes.
"""

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import msgspec

from sampan.model.access import AccessKey
from sampan.model.secret import Guarded
from sampan.sdk.errors import NotConfigured, UnsafeCredentials

DEFAULT_STATE = "/var/lib/sampan"
FILE_NAME = "credentials.toml"
SECRET_FIELDS = frozenset({"access_key_secret"})


class Credentials(Guarded, frozen=True):
    """What a client must know; the content of the credentials file."""

    _hidden: ClassVar[tuple[str, ...]] = ("access_key_secret",)
    endpoint: str = ""  # URL of the gateway's front door
    registry: str = ""  # host:port that images can be pushed to
    access_key_id: str = ""
    access_key_secret: str = ""
    account: str = ""
    region: str = ""

    @property
    def key(self) -> AccessKey:
        return AccessKey(id=self.access_key_id, secret=self.access_key_secret, account=self.account)


FIELDS = Credentials.__struct_fields__


class Found(Guarded, frozen=True):
    """One value and its origin, for people: "argument", "SAMPAN_ENDPOINT", a file's path, or "" for none."""

    _hidden: ClassVar[tuple[str, ...]] = ("value",)
    value: str
    source: str


def state_directory(state: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> Path:
    """The platform's state directory: `state`, else `$SAMPAN_STATE`, else `/var/lib/sampan`."""
    return Path(state or environment.get("SAMPAN_STATE") or DEFAULT_STATE)


def credentials_file(state: Path) -> Path:
    return state / FILE_NAME


def read_file(path: Path) -> dict[str, str]:
    """The file's fields; empty when there is no file.

    Raises: UnsafeCredentials when others than its owner may read it; NotConfigured when it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except PermissionError as error:
        raise NotConfigured(
            f"{path} belongs to another user; run as that user, or set SAMPAN_ENDPOINT, "
            "SAMPAN_ACCESS_KEY_ID and SAMPAN_ACCESS_KEY_SECRET"
        ) from error
    with os.fdopen(descriptor, "rb") as file:
        _check_owner_only(path, os.fstat(file.fileno()))
        try:
            content = tomllib.loads(file.read().decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError):
            # The parser's message quotes the line it stumbled over, which may hold the secret.
            raise NotConfigured(f"{path} is not valid TOML; `sampan up` writes it anew") from None
    return {name: str(content[name]) for name in FIELDS if content.get(name)}


def _check_owner_only(path: Path, status: os.stat_result) -> None:
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise UnsafeCredentials(f"{path} can be read by other users (mode {mode:04o}); run: chmod 600 {path}")
    if os.geteuid() != 0 and status.st_uid not in (0, os.geteuid()):  # root reads what `sudo sampan up` gave away
        raise UnsafeCredentials(f"{path} is owned by user {status.st_uid}, neither you nor root; not trusted")


def write_file(path: Path, credentials: Credentials) -> None:
    """Put `credentials` into the file at once and whole, readable by its owner only."""
    text = "".join(f"{name} = {_toml(getattr(credentials, name))}\n" for name in FIELDS)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _toml(value: str) -> str:
    """A TOML basic string; JSON's escapes are a subset of TOML's."""
    return msgspec.json.encode(value).decode()


def look_up(arguments: Mapping[str, str | None], environment: Mapping[str, str], state: Path) -> dict[str, Found]:
    """Each field with where it was found. The file is opened only when something is still missing.

    Raises: NotConfigured, UnsafeCredentials.
    """
    found: dict[str, Found] = {}
    for name in FIELDS:
        variable = f"SAMPAN_{name.upper()}"
        if given := arguments.get(name):
            found[name] = Found(given, "argument")
        elif given := environment.get(variable):
            found[name] = Found(given, variable)
    if not {"endpoint", "access_key_id", "access_key_secret"} <= found.keys():
        path = credentials_file(state)
        for name, value in read_file(path).items():
            found.setdefault(name, Found(value, str(path)))
    return {name: found.get(name, Found("", "")) for name in FIELDS}


def resolve(arguments: Mapping[str, str | None], environment: Mapping[str, str], state: Path) -> Credentials:
    """The credentials to use.

    Raises: NotConfigured when the endpoint or the key is nowhere to be found; UnsafeCredentials.
    """
    found = look_up(arguments, environment, state)
    missing = [name for name in ("endpoint", "access_key_id", "access_key_secret") if not found[name].value]
    if missing:
        variables = ", ".join(f"SAMPAN_{name.upper()}" for name in missing)
        raise NotConfigured(
            f"no platform is known: {credentials_file(state)} is not there or lacks {', '.join(missing)}, "
            f"and so does the environment ({variables})"
        )
    return Credentials(**{name: each.value for name, each in found.items()})

"""What the options of `deploy` say about who may call, and from which pages, in the API's terms. Pure."""

import json
from dataclasses import dataclass, field

import msgspec

from sampan.cli.wishes import METHODS
from sampan.sdk import shapes

CHECKED = ("jwt", "basic", "bearer")
AUTH_TYPES = ("anonymous", "function", *CHECKED)
ACCESS = {
    "anonymous": "anyone who reaches it",
    "function": "signed calls only",
    "jwt": "callers with a JSON web token",
    "basic": "users with a password",
    "bearer": "callers with a bearer token",
}


@dataclass(frozen=True)
class Reach:
    """The options as given; None: say nothing about it."""

    auth: str | None = None
    auth_config: str | None = field(default=None, repr=False)  # JSON
    origins: tuple[str, ...] = ()
    cors_config: str | None = None  # JSON
    no_cors: bool = False


def reach(
    public: bool | None,
    auth: str | None,
    auth_config: str | None,
    origins: tuple[str, ...],
    cors_config: str | None,
    no_cors: bool,
) -> Reach:
    """Raises: ValueError, naming the options that do not go together."""
    if public is not None and auth is not None:
        raise ValueError("--auth and --public or --private say the same; give one of them")
    if auth is None and public is not None:
        auth = "anonymous" if public else "function"
    if auth is not None and auth not in AUTH_TYPES:
        raise ValueError(f"--auth: '{auth}' is none of {', '.join(AUTH_TYPES)}")
    if auth_config is not None and auth is not None and auth not in CHECKED:
        raise ValueError(
            f"--auth-config: there is nothing to configure with {auth}; give --auth jwt, basic or bearer"
        )
    if sum((bool(origins), cors_config is not None, no_cors)) > 1:
        raise ValueError("--cors, --cors-config and --no-cors exclude each other")
    return Reach(auth, _json(auth_config, "--auth-config"), origins, _json(cors_config, "--cors-config"), no_cors)


def trigger_config(wanted: Reach, present: shapes.HttpTriggerConfig | None) -> shapes.HttpTriggerConfig:
    """The trigger as it is to be. `present`: as it is; None when it is to be made.

    Raises: ValueError when the auth type needs a configuration and has none.
    """
    before = present or shapes.HttpTriggerConfig(methods=METHODS, auth_type="function")
    auth = wanted.auth or before.auth_type or "function"
    kept = before.auth_config if auth == before.auth_type else None
    config = wanted.auth_config if wanted.auth_config is not None else kept
    if auth in CHECKED and config is None:
        raise ValueError(f"--auth {auth} needs --auth-config FILE; docs/access.md shows what is in it")
    if auth not in CHECKED and config is not None:
        raise ValueError("--auth-config needs --auth jwt, basic or bearer")
    return msgspec.structs.replace(before, auth_type=auth, auth_config=config, cors_config=_cors(wanted, before))


def _cors(wanted: Reach, before: shapes.HttpTriggerConfig) -> shapes.CorsConfig | None:
    if wanted.no_cors:
        return None
    if wanted.cors_config is not None:
        return shapes.read(wanted.cors_config, shapes.CorsConfig, "--cors-config")
    if wanted.origins:
        return shapes.CorsConfig(allow_origins=wanted.origins, allow_headers=("*",))
    return before.cors_config


def _json(text: str | None, option: str) -> str | None:
    """An object, on one line. Its content may be secret and is not repeated."""
    if text is None:
        return None
    try:
        given = json.loads(text)
    except ValueError as error:
        place = f", line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ValueError(f"{option}: that is no JSON{place}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{option}: a JSON object is needed")  # noqa: TRY004  # of the user's file, not of a type
    return json.dumps(given, separators=(",", ":"))

"""The platform's own log: one line per event, to stderr, as text (`time level role event key=value …`) or JSON.

No secret gets into it: a value that is one by its type (model/secret.py) or by the name of its field is shown as
HIDDEN, and of structs only what their own repr shows.
"""

import logging
import sys
import time
from typing import Any

import msgspec

from sampan.model.secret import HIDDEN, Secret

SECRET_NAMES = ("secret", "password", "passwd", "token", "authorization", "credential", "cookie", "private_key")

_PLAIN = (bool, int, float, type(None))


class _Text(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        told = "".join(f" {name}={_quoted(str(value))}" for name, value in _fields(record).items())
        line = f"{_clock(record)} {record.levelname.lower()} {self._role} {record.getMessage()}{told}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Json(logging.Formatter):
    """Members: time, level, role, room, event, error (a traceback), and the event's own under their names."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role
        self._encode = msgspec.json.Encoder().encode

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _clock(record),
            "level": record.levelname.lower(),
            "role": self._role,
            "room": record.name,
            "event": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        for name, value in _fields(record).items():
            line[f"{name}_" if name in line else name] = value if type(value) in _PLAIN else str(value)
        try:
            return self._encode(line).decode()
        except (UnicodeEncodeError, OverflowError):  # a lone surrogate, a number beyond 64 bits
            return self._encode({name: _encodable(value) for name, value in line.items()}).decode()


FORMATS: dict[str, type[_Text] | type[_Json]] = {"text": _Text, "json": _Json}


def _encodable(value: object) -> str:
    return str(value).encode("ascii", "backslashreplace").decode()


def _clock(record: logging.LogRecord) -> str:
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    """What the event tells, without secrets."""
    fields: dict[str, object] = getattr(record, "fields", {})
    return {name: _hidden(name, value) for name, value in fields.items()}


def _hidden(name: str, value: object) -> object:
    secret = isinstance(value, Secret) or any(word in name.lower() for word in SECRET_NAMES)
    return HIDDEN if secret and value and type(value) not in _PLAIN else value


def _quoted(text: str) -> str:
    return repr(text) if not text or " " in text or not text.isprintable() else text


def configure(role: str, level: str, form: str = "text") -> None:
    """Send everything to stderr as one-line events of `role`. `level`: debug, info, warning or error; `form`: of
    FORMATS."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(FORMATS[form](role))
    logging.basicConfig(level=level.upper(), handlers=[stream], force=True)
    for chatty in ("aiohttp.access", "aiosqlite", "alembic", "asyncio", "grpc", "uvicorn"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class Log:
    """Writes events of one room: `log.info("instance started", instance=id, took_ms=12)`."""

    def __init__(self, room: str) -> None:
        self._log = logging.getLogger(room)

    def debug(self, event: str, **fields: Any) -> None:
        self._log.debug(event, extra={"fields": fields})

    def info(self, event: str, **fields: Any) -> None:
        self._log.info(event, extra={"fields": fields})

    def warning(self, event: str, **fields: Any) -> None:
        self._log.warning(event, extra={"fields": fields})

    def error(self, event: str, **fields: Any) -> None:
        self._log.error(event, extra={"fields": fields})

    def failure(self, event: str, error: BaseException, **fields: Any) -> None:
        """An error nobody foresaw, with its traceback."""
        self._log.error(event, extra={"fields": fields}, exc_info=error)

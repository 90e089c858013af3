"""The platform's own log: one line per event, `time level role event key=value …`, to stderr."""

import logging
import sys
import time
from typing import Any


class _Line(logging.Formatter):
    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields = getattr(record, "fields", {})
        told = "".join(f" {name}={_value(value)}" for name, value in fields.items())
        line = (
            f"{clock}.{int(record.msecs):03d}Z {record.levelname.lower()} {self._role} {record.getMessage()}{told}"
        )
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _value(value: object) -> str:
    text = str(value)
    return repr(text) if not text or " " in text or not text.isprintable() else text


def configure(role: str, level: str) -> None:
    """Send everything to stderr as one-line events of `role`. `level`: debug, info, warning or error."""
    stream = logging.StreamHandler(sys.stderr)
    stream.setFormatter(_Line(role))
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

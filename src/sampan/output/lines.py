"""One line that an instance printed."""

from datetime import UTC, datetime

import msgspec

from sampan.model.names import VersionKey
from sampan.output.levels import Level

OTLP = "otlp"  # records that the program sent
STREAMS = ("stdout", "stderr", OTLP)  # a block holds their numbers
MAX_LINE = 64 << 10  # bytes; a longer one is told in pieces


class Line(msgspec.Struct, frozen=True, gc=False):
    """`seq` counts a function's lines, from 1, for ever; 0 while the line is not in the database."""

    time: int  # Unix nanoseconds by which the line was there
    instance: str
    version: VersionKey
    stream: str  # of STREAMS
    request: str  # "": not known whose
    level: Level
    text: str  # without its end of line
    seq: int = 0


def moment(nanoseconds: int) -> str:
    """RFC 3339, UTC, milliseconds."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    clock = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{clock}.{rest // 1_000_000:03d}Z"

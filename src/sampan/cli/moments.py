"""`--since` and `--until`, the same for all commands: see `wire/moments`."""

import time
from datetime import UTC, datetime, tzinfo
from typing import Annotated

import typer

SHOWN = "2h, 1h30m, 7d, 10:30, 2026-01-31, 2026-01-31T08:00, today, yesterday"

SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="WHEN", help=f"From then on: {SHOWN}.", show_default=False),
]
UntilOption = Annotated[
    str | None,
    typer.Option("--until", metavar="WHEN", help="Up to then; written as --since is.", show_default=False),
]


def moment(option: str, text: str | None, zone: tzinfo | None = None) -> datetime | None:
    """zone: of times that do not say theirs, and of days; None: this machine's. Raises: typer.BadParameter."""
    from sampan.model.errors import InvalidArgument
    from sampan.wire.moments import ALLOWED, SECOND, parse

    if text is None:
        return None
    try:
        found = parse(option, text, time.time_ns(), zone)
    except InvalidArgument:
        raise typer.BadParameter(f"'{text[:40]}' is no time; write {ALLOWED}", param_hint=option) from None
    seconds, rest = divmod(found, SECOND)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000).astimezone(zone)

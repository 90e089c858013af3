"""One line of a log on the screen: when, which instance, and the text with what matters in colour."""

import re
from typing import TYPE_CHECKING

import msgspec
from rich.text import Text

from sampan.cli.screen import instance_colour, out, printable

if TYPE_CHECKING:
    from sampan.sdk import LogLine

SHORT = 8  # hex digits of an instance's id that tell neighbours apart
LEVELS = {
    "trace": "dim",
    "debug": "dim",
    "info": "green",
    "warning": "yellow",
    "error": "red",
    "fatal": "bold red",
}
MESSAGE = ("msg", "message", "event")
LEVEL = ("level", "severity", "levelname")  # members that are told beside the text
TIME = ("time", "ts", "timestamp", "@timestamp", "asctime")

_FRAME = re.compile(r"FC Invoke (?:Start|End) RequestId: ")
_WORD = re.compile(
    r"\b(?:trace|debug|info|notice|warn(?:ing)?|err(?:or)?|severe|critical|fatal|panic|alert|emergency)\b",
    re.IGNORECASE,
)
_HEAD = 96  # characters in which the word is that made the level
_MISSING = "… "  # how the platform begins a line of its own


class Shown:
    """Prints lines one after another."""

    def __init__(self, readable: bool, days: bool) -> None:
        """readable: JSON as a message and its fields.  days: say where another day begins."""
        self._readable = readable
        self._days = days
        self._day = ""

    def show(self, line: "LogLine") -> None:
        day, _, clock = line.time.partition("T")
        if self._days and day != self._day:
            self._day = day
            out().print(Text(f"── {printable(day)} UTC", style="dim"))
        label = f"{line.instance.removeprefix('c-')[:SHORT]:<{SHORT}}"
        out().print(
            Text((clock[:12].rstrip("Z") or line.time) + " ", style="dim"),
            Text(label + " ", style=instance_colour(line.instance)),
            (readable(line) if self._readable else None) or coloured(line),
            sep="",
        )


def coloured(line: "LogLine") -> Text:
    """The text as it is; nothing in it moves the cursor."""
    text = Text(printable(line.text))
    if _FRAME.match(line.text):
        text.stylize("dim")
    elif line.text.startswith(_MISSING) and line.level == "warning":
        text.stylize("yellow")
    elif line.level:
        word = _WORD.search(text.plain, 0, _HEAD)
        if word is not None:
            text.stylize(LEVELS.get(line.level, ""), *word.span())
    elif line.stream == "stderr":
        text.stylize("red")
    if line.request_id:
        text.highlight_words([line.request_id], "dim")
    return text


def readable(line: "LogLine") -> Text | None:
    """A JSON object as its level, its message and what else it holds; None: it is none, or has no message."""
    if not line.text.startswith("{"):
        return None
    try:
        held = msgspec.json.decode(line.text, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    name = next((name for name in MESSAGE if isinstance(held.get(name), str)), None)
    if name is None:
        return None
    text = Text()
    if line.level:
        text.append(f"{line.level.upper():<7} ", LEVELS.get(line.level, ""))
    text.append(printable(str(held[name])), "bold" if line.level in ("error", "fatal") else "")
    told = (name, *TIME, *(LEVEL if line.level else ()))
    for key, value in held.items():
        if key not in told:
            text.append(f"  {printable(key)}=", "dim")
            own = value == line.request_id and value
            text.append(printable(_value(value)), "dim" if own else "cyan")
    return text


def _value(value: object) -> str:
    if isinstance(value, str):
        return value if value and not re.search(r"[\s\"=]", value) else msgspec.json.encode(value).decode()
    return msgspec.json.encode(value).decode()

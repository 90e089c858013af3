"""How grave a line is, as far as it says: a JSON member `level`, `severity` or `levelname`, or a leading word.

A leading word counts behind a time and brackets. In small letters it counts only when marked as a level
(`error: …`, `[warn]`, `level=info`): a sentence may begin with such a word.
"""

import re
from enum import IntEnum

import msgspec


class Level(IntEnum):
    """Of a line, ascending."""

    UNKNOWN = 0
    TRACE = 1
    DEBUG = 2
    INFO = 3
    WARNING = 4
    ERROR = 5
    FATAL = 6


LEVELS = tuple(Level)  # by number
WORDS = {
    "trace": Level.TRACE,
    "verbose": Level.TRACE,
    "debug": Level.DEBUG,
    "info": Level.INFO,
    "information": Level.INFO,
    "notice": Level.INFO,
    "warn": Level.WARNING,
    "warning": Level.WARNING,
    "err": Level.ERROR,
    "error": Level.ERROR,
    "severe": Level.ERROR,
    "critical": Level.FATAL,
    "fatal": Level.FATAL,
    "panic": Level.FATAL,
    "alert": Level.FATAL,
    "emergency": Level.FATAL,
}
NAMES = {level: level.name.lower() if level else "" for level in Level}

_NUMBERS = {10: Level.TRACE, 20: Level.DEBUG, 30: Level.INFO, 40: Level.WARNING, 50: Level.ERROR, 60: Level.FATAL}
_HEAD = 96  # characters looked at for a word
_WORD = re.compile(  # possessive throughout: nothing is tried twice
    r"(?:(?:time|ts)=)?+(?:[\s\d\-:.,+/\"\[\](<|]|T(?=\d)|Z(?![A-Za-z])){0,48}+"
    r"((?:level|lvl|severity)=\"?)?+([A-Za-z]{3,11}+)(?!\w)(\s?[:\])>|])?"
)


class _Leveled(msgspec.Struct):
    level: str | int | None = None
    severity: str | int | None = None
    levelname: str | None = None  # Python's name for it


_decode = msgspec.json.Decoder(_Leveled).decode


def level_of(text: str) -> Level:
    """Time is linear in the head of the line, whatever it holds."""
    if text.startswith("{"):
        return _in_json(text)
    found = _WORD.match(text, 0, _HEAD)
    if found is None:
        return Level.UNKNOWN
    named, word, mark = found.groups()
    return WORDS.get(word.lower(), Level.UNKNOWN) if named or mark or word.isupper() else Level.UNKNOWN


def _in_json(text: str) -> Level:
    if '"level' not in text and '"severity"' not in text:
        return Level.UNKNOWN
    try:
        line = _decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return Level.UNKNOWN
    given = next((one for one in (line.level, line.severity, line.levelname) if one is not None), None)
    if isinstance(given, int):
        return _NUMBERS.get(given, Level.UNKNOWN)  # as bunyan and pino count
    return WORDS.get(given.lower(), Level.UNKNOWN) if given else Level.UNKNOWN

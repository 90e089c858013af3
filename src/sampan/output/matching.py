"""Which lines are wanted, and picking them from an opened block. Pure.

Regular expressions are RE2's: time grows with the length of the text alone, whatever the pattern. A stretch of
lines is searched in one go first, and line by line only where something is in it.
"""

import math
import re
from collections.abc import Sequence
from itertools import accumulate

import msgspec
import re2

from sampan.model.errors import InvalidArgument
from sampan.output.blocks import Columns, version_of
from sampan.output.levels import Level
from sampan.output.lines import STREAMS

MAX_PATTERN = 1000  # characters
MAX_MEMORY = 1 << 20  # bytes of one compiled pattern
MAX_FIELDS = 16
FOREVER = (1 << 63) - 1
STRETCH = 64  # lines searched in one go

_ANCHORED = re.compile(r"\\[AzQC]|\(\?[a-zA-Z]*-")  # what could mean another thing over many lines than in one
_BY_LINE = b"(?m)"
_PLAIN = re.compile(r"[A-Za-z_]+[A-Za-z0-9_.-]*\Z")  # text that JSON has no second spelling for that is in use


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Empty means any. All that is said must hold."""

    function: str
    instance: str = ""
    version: str = ""  # "LATEST" or a published id
    stream: str = ""
    request: str = ""
    since: int = 0  # Unix nanoseconds, included
    until: int = FOREVER  # not included
    level: Level = Level.UNKNOWN  # this one and graver ones
    fields: tuple[tuple[str, str], ...] = ()  # JSON member, inner ones with dots; its value as text
    grep: str = ""  # RE2


class Matcher:
    """Picks what is wanted."""

    def __init__(self, wanted: Wanted) -> None:
        """Raises: InvalidArgument."""
        if len(wanted.fields) > MAX_FIELDS:
            raise InvalidArgument("field", f"{len(wanted.fields)} of them", f"at most {MAX_FIELDS}")
        self.wanted = wanted
        self._grep = _compiled(wanted.grep) if wanted.grep else None
        self._by_line = bool(_ANCHORED.search(wanted.grep))
        self._plain = [value.encode() for _, value in wanted.fields if _PLAIN.match(value)]

    def pick(self, columns: Columns, low: int, high: int) -> list[int]:
        """Numbers of the wanted lines in [low, high) of an opened block, ascending."""
        if any(value not in columns.texts for value in self._plain):
            return []
        chosen: Sequence[int] = range(max(low, 0), min(high, len(columns.times)))
        for narrow in (self._narrow_source, self._narrow_request, self._narrow_numbers):
            chosen = narrow(columns, chosen)
        if chosen and (self._grep is not None or self.wanted.fields):
            chosen = self._narrow_texts(columns, chosen)
        return list(chosen)

    def _narrow_source(self, columns: Columns, chosen: Sequence[int]) -> Sequence[int]:
        wanted = self.wanted
        good = {
            at
            for at, (instance, key, stream) in enumerate(columns.sources)
            if wanted.instance in ("", instance)
            and wanted.version in ("", version_of(key))
            and wanted.stream in ("", STREAMS[stream])
        }
        if len(good) == len(columns.sources):
            return chosen
        return [at for at in chosen if columns.source[at] in good] if good else ()

    def _narrow_request(self, columns: Columns, chosen: Sequence[int]) -> Sequence[int]:
        if not self.wanted.request:
            return chosen
        if self.wanted.request not in columns.requests:
            return ()
        number = columns.requests.index(self.wanted.request)
        return [at for at in chosen if columns.request[at] == number]

    def _narrow_numbers(self, columns: Columns, chosen: Sequence[int]) -> Sequence[int]:
        wanted = self.wanted
        if wanted.since or wanted.until != FOREVER:
            chosen = [at for at in chosen if wanted.since <= columns.times[at] < wanted.until]
        if wanted.level:
            chosen = [at for at in chosen if columns.levels[at] >= wanted.level]
        return chosen

    def _narrow_texts(self, columns: Columns, chosen: Sequence[int]) -> list[int]:
        texts = columns.texts.split(b"\n")
        found: list[int] = []
        if self._grep is None or self._by_line or len(chosen) < len(texts) // STRETCH:
            return [at for at in chosen if self._holds(texts[at])]
        if self._grep.search(columns.texts) is None:
            return found
        begins = [0, *accumulate(len(text) + 1 for text in texts)]
        for low in range(0, len(chosen), STRETCH):
            some = chosen[low : low + STRETCH]
            if self._grep.search(columns.texts[begins[some[0]] : begins[some[-1] + 1] - 1]) is not None:
                found += [at for at in some if self._holds(texts[at])]
        return found

    def _holds(self, text: bytes) -> bool:
        if self._grep is not None and self._grep.search(text) is None:
            return False
        return not self.wanted.fields or _has(text, self.wanted.fields)


def _compiled(pattern: str) -> "re2._Regexp[bytes]":
    """In which `^` and `$` are the ends of a line. Raises: InvalidArgument."""
    if len(pattern) > MAX_PATTERN:
        raise InvalidArgument("grep", pattern[:40] + "…", f"a pattern of at most {MAX_PATTERN} characters")
    options = re2.Options()
    options.max_mem, options.log_errors = MAX_MEMORY, False
    try:
        return re2.compile(_BY_LINE + pattern.encode(), options)
    except (re2.error, UnicodeEncodeError) as error:
        why = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        told = str(why).replace(_BY_LINE.decode(), "", 1)  # the rest is the caller's own
        raise InvalidArgument("grep", pattern[:80], f"a regular expression of RE2 ({told})") from error


def _has(text: bytes, fields: tuple[tuple[str, str], ...]) -> bool:
    if not text.startswith(b"{"):
        return False
    try:
        line = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return False
    return all(_same(_member(line, name), value) for name, value in fields)


def _member(line: object, name: str) -> object:
    """A member as named, else the way through inner objects that the name's dots tell."""
    if isinstance(line, dict) and name in line:
        return line[name]
    for step in name.split("."):
        if not isinstance(line, dict) or step not in line:
            return None
        line = line[step]
    return line


def _same(given: object, wanted: str) -> bool:
    match given:
        case None:
            return False
        case bool():
            return wanted == ("true" if given else "false")
        case int() | float():
            try:
                return math.isclose(float(wanted), given, rel_tol=1e-12) or wanted == str(given)
            except (ValueError, OverflowError):
                return False
        case str():
            return given == wanted
        case _:
            return wanted.encode() == msgspec.json.encode(given)

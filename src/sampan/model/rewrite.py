"""Rewriting a path and its query by a domain's rules. Pure; compiled once per change, not per request.

Every kind is tried in the order equal, wildcard, regex, and in each the first rule that matches wins. *Equal*
compares the path alone. *Wildcard* and *regex* look for their pattern in path and query, beginning in the path; a
wildcard knows `*`, any text, and a leading `^`, which holds it to the beginning. What a rule makes replaces the
whole: `/old` → `/new` turns `/test/old` into `/new`. The query stays where the match left it alone and the
replacement brings none. `$1` is the first thing captured, `${name}` a named one, `$$` a dollar.

Patterns are RE2's, as the vendor's are: no pattern takes more than linear time, so none can hold the gateway up.
Source: triggers.md §3; the vendor's page "Configure a rewrite policy" (its examples are in tests/gateway).
"""

import re
from collections.abc import Callable, Iterable

import re2

from sampan.model.domain import Rewrite

EQUAL, WILDCARD, REGEX = KINDS = ("equal", "wildcard", "regex")
MAX_TEXT = 512  # characters of a match or a replacement
MAX_REFERENCES = 16  # in a replacement, so that it cannot multiply a long request
MAX_MEMORY = 1 << 20  # bytes for one compiled pattern

_REFERENCE = re.compile(r"\$(?:(\$)|(\d{1,2})|\{(\w+)\}|)")
_PRINTABLE = re.compile(r"[!-~]+\Z")

Step = Callable[[bytes], bytes | None]
"""A rule, compiled: the rewritten target, or None where it does not match."""


class BadRewrite(ValueError):
    """A rule that cannot be carried out; `part` is its member, `allowed` what would do."""

    def __init__(self, part: str, allowed: str) -> None:
        self.part, self.allowed = part, allowed
        super().__init__(f"{part}: allowed is {allowed}")


def compiled(rules: Iterable[Rewrite]) -> tuple[Step, ...]:
    """In the order they are tried. Raises: BadRewrite."""
    return tuple(step(rule) for rule in sorted(rules, key=lambda rule: KINDS.index(rule.kind)))


def rewritten(steps: tuple[Step, ...], target: bytes) -> bytes:
    """The target, path and query, as the first rule that matches has it."""
    for one in steps:
        if (found := one(target)) is not None:
            return found
    return target


def step(rule: Rewrite) -> Step:
    """Raises: BadRewrite."""
    for part, text in (("match", rule.match), ("replacement", rule.replacement)):
        if len(text) > MAX_TEXT or not _PRINTABLE.match(text) or "#" in text:
            raise BadRewrite(part, f"1–{MAX_TEXT} printable ASCII characters, neither blank nor '#'")
    if rule.kind == EQUAL:
        return _equal(rule)
    pattern = rule.match if rule.kind == REGEX else _from_wildcard(rule.match)
    options = re2.Options()
    options.encoding, options.max_mem, options.log_errors = re2.Options.Encoding.LATIN1, MAX_MEMORY, False
    try:
        regex = re2.compile(pattern.encode(), options)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise BadRewrite("match", f"a regular expression in RE2's syntax ({why})") from error
    return _pattern(regex, _parts(rule.replacement, regex.groups, dict(regex.groupindex)))


def _equal(rule: Rewrite) -> Step:
    if not rule.match.startswith("/") or "?" in rule.match:
        raise BadRewrite("match", "a path, which begins with '/', without a query")
    match, replacement = rule.match.encode(), _rooted(rule.replacement.encode())
    brings_query = b"?" in replacement

    def rewrite(target: bytes) -> bytes | None:
        path, mark, query = target.partition(b"?")
        if path != match:
            return None
        return replacement if brings_query else replacement + mark + query

    return rewrite


def _pattern(regex: "re2._Regexp[bytes]", parts: tuple[bytes | int, ...]) -> Step:
    brings_query = any(isinstance(part, bytes) and b"?" in part for part in parts)

    def rewrite(target: bytes) -> bytes | None:
        found = regex.search(target)
        if found is None:
            return None
        mark = target.find(b"?")
        end_of_path = len(target) if mark < 0 else mark
        if found.start() > end_of_path:
            return None  # in the query: what a caller puts there is not a path
        made = b"".join(part if isinstance(part, bytes) else found.group(part) or b"" for part in parts)
        if found.end() <= end_of_path and not brings_query:
            made += target[end_of_path:]
        return _rooted(made)

    return rewrite


def _from_wildcard(match: str) -> str:
    anchored, text = match.startswith("^"), match.removeprefix("^")
    return ("^" if anchored else "") + "(.*)".join(re.escape(piece) for piece in text.split("*"))


def _parts(replacement: str, groups: int, names: dict[bytes | str, int]) -> tuple[bytes | int, ...]:
    """Text and numbers of groups, in turn. Raises: BadRewrite."""
    known = {name.decode() if isinstance(name, bytes) else name: number for name, number in names.items()}
    parts: list[bytes | int] = []
    at = 0
    for reference in _REFERENCE.finditer(replacement):
        parts.append(replacement[at : reference.start()].encode())
        at = reference.end()
        dollar, digits, name = reference.groups()
        number = known.get(name) if name and not name.isdigit() else int(digits or name or -1)
        if dollar:
            parts.append(b"$")
        elif number is None or not 0 <= number <= groups:
            raise BadRewrite("replacement", f"references to the {groups} captured parts; '$$' is a dollar")
        else:
            parts.append(number)
    if sum(isinstance(part, int) for part in parts) > MAX_REFERENCES:
        raise BadRewrite("replacement", f"at most {MAX_REFERENCES} references")
    return tuple(part for part in (*parts, replacement[at:].encode()) if part != b"")


def _rooted(target: bytes) -> bytes:
    return target if target.startswith(b"/") else b"/" + target

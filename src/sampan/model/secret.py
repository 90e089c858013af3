"""Values that are never shown and never logged, told by their type.

A `Secret` is a string that shows as HIDDEN wherever a string is shown: `str`, `repr`, formatting, logging. What
needs the value itself asks for it: `value.reveal()`. It is for values on their way; msgspec reads and writes plain
strings only, so a struct that holds secrets is `Guarded`: its fields stay plain, its own repr hides them.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import msgspec

HIDDEN = "•••"


class Secret(str):
    """Equal to, and hashed as, the string it is made of."""

    __slots__ = ()

    def reveal(self) -> str:
        """The plain string."""
        return str.__str__(self)

    def __str__(self) -> str:
        return HIDDEN

    def __repr__(self) -> str:
        return HIDDEN

    def __format__(self, spec: str) -> str:
        return format(HIDDEN, spec)


class Guarded(msgspec.Struct, frozen=True):
    """A struct some of whose fields are shown as HIDDEN; of a mapping the names are shown."""

    _hidden: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value if hidden else repr(value)}" for name, value, hidden in self._shown())
        return f"{type(self).__name__}({shown})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """What rich shows in tables and tracebacks. It does not ask `__repr__`."""
        return [(name, _Plain(value) if hidden else value) for name, value, hidden in self._shown()]

    def _shown(self) -> Iterator[tuple[str, Any, bool]]:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            hidden = name in self._hidden and bool(value)
            yield name, _names(value) if hidden else value, hidden


class _Plain(str):
    """Shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _names(value: object) -> str:
    return "{" + ", ".join(f"{name!r}: {HIDDEN}" for name in value) + "}" if isinstance(value, dict) else HIDDEN

"""Thrift as it comes from strangers: both encodings read into plain values, bounded by the bytes there are.

A shape tells which fields are read; the rest is stepped over. A length is believed only if so many bytes are left,
so nothing is allocated for what is merely announced; nesting and the number of values are bounded, and a type that
is none is an error. thriftpy2, with which the house writes Thrift, is not used to read it: as of 0.7.1 it
allocates what is announced, loops over lists without elements, and its fast reader hands out foreign memory for
what is missing. Source: Thrift specification, "Binary protocol" and "Compact protocol".
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NoReturn

from sampan.model.errors import Malformed

MAX_DEPTH = 16  # structs and lists in one another; a batch of spans needs seven
MAX_VALUES = 1_000_000  # of a message; 20,000 spans of 16 fields and five tags

Read = dict[int, Any]
"""A struct's fields by number: bool, int, float, bytes, a list, another struct."""


class Type(IntEnum):
    """Of values, with the binary protocol's numbers."""

    STOP = 0
    BOOL = 2
    BYTE = 3
    DOUBLE = 4
    I16 = 6
    I32 = 8
    I64 = 10
    STRING = 11
    STRUCT = 12
    MAP = 13
    SET = 14
    LIST = 15


@dataclass(frozen=True, slots=True)
class Of:
    """What a field is read as. shape: of the struct, or of a list's elements; most: elements kept."""

    type: int
    shape: "Shape | None" = None
    most: int = 0


Shape = Mapping[int, Of]

_BYTE, _SHORT, _INT = struct.Struct(">b"), struct.Struct(">h"), struct.Struct(">i")
_LONG, _DOUBLE, _COMPACT_DOUBLE = struct.Struct(">q"), struct.Struct(">d"), struct.Struct("<d")
_FIELD, _ELEMENTS = struct.Struct(">bh"), struct.Struct(">bi")
_CALLS = (1, 4)  # message types: a call, a one-way call
_VERSION = 0x8001
_COMPACT_ID, _COMPACT_VERSION = 0x82, 1

# The compact protocol's types: 1 and 2 are true and false, as a field and as an element.
_COMPACT = (
    Type.STOP,
    Type.BOOL,
    Type.BOOL,
    Type.BYTE,
    Type.I16,
    Type.I32,
    Type.I64,
    Type.DOUBLE,
    Type.STRING,
    Type.LIST,
    Type.SET,
    Type.MAP,
    Type.STRUCT,
)


def read_struct(data: bytes, shape: Shape) -> Read:
    """A bare struct in the binary protocol. Raises: Malformed."""
    return _finish(_Binary(data), shape)


def read_call(data: bytes, compact: bool, name: str, shape: Shape) -> Read:
    """The arguments of the one call that is known. Raises: Malformed."""
    reader = _Compact(data) if compact else _Binary(data)
    try:
        called, kind = reader.message()
    except (IndexError, struct.error):
        raise Malformed("thrift", f"the message ends in its head, after {len(data)} bytes") from None
    if kind not in _CALLS or called != name.encode():
        raise Malformed("thrift", f"message {called[:64]!r} of type {kind} is not a call of {name}")
    return _finish(reader, shape)


def _finish(reader: "_Reader", shape: Shape) -> Read:
    try:
        return reader.struct(shape, MAX_DEPTH)
    except (IndexError, struct.error):
        raise Malformed("thrift", f"the message ends in the middle of a value, at byte {reader.at}") from None


class _Reader:
    """Where in the bytes we are; what both encodings share."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.end = data, 0, len(data)
        self.left = MAX_VALUES

    # How an encoding has it. `stop`: None at the end of a struct, else its field's (type, number).

    def message(self) -> tuple[bytes, int]:
        raise NotImplementedError

    def struct(self, shape: Shape, depth: int) -> Read:
        raise NotImplementedError

    def elements(self) -> tuple[int, int]:
        """A list's head: type and number of its elements."""
        raise NotImplementedError

    def pairs(self) -> tuple[int, int, int]:
        """A map's head: types of its keys and its values, number of its pairs."""
        raise NotImplementedError

    def size(self) -> int:
        """Of the string that follows."""
        raise NotImplementedError

    def scalar(self, kind: int) -> bool | int | float:
        raise NotImplementedError

    def step_over(self, kind: int, count: int) -> None:
        """Scalars."""
        raise NotImplementedError

    # ── values ──

    def value(self, wanted: Of, depth: int) -> Any:
        kind = wanted.type
        if kind == Type.STRING:
            return self.string()
        if kind == Type.STRUCT:
            return self.struct(wanted.shape or {}, self.deeper(depth))
        if kind == Type.LIST:
            return self.structs(wanted, self.deeper(depth))
        return self.scalar(kind)

    def string(self) -> bytes:
        size = self.size()
        start = self.at
        if not 0 <= size <= self.end - start:
            self.too_long("a string", size)
        self.at = start + size
        return self.data[start : start + size]

    def structs(self, wanted: Of, depth: int) -> list[Read]:
        """A list's first structs; the rest is stepped over and stands there empty, to be counted."""
        kind, count = self.counted()
        if kind != Type.STRUCT:
            self.skip_all(kind, count, depth)
            return []
        deeper, shape = self.deeper(depth), wanted.shape or {}
        kept = [self.struct(shape, deeper) for _ in range(min(count, wanted.most))]
        rest = count - len(kept)
        self.skip_all(kind, rest, depth)
        return kept + [_SKIPPED] * rest

    def counted(self) -> tuple[int, int]:
        kind, count = self.elements()
        if not 0 <= count <= self.end - self.at:  # each takes a byte at least
            self.too_long("a list", count)
        return kind, count

    # ── stepping over ──

    def skip(self, kind: int, depth: int) -> None:
        if kind == Type.STRING:
            size = self.size()
            if not 0 <= size <= self.end - self.at:
                self.too_long("a string", size)
            self.at += size
        elif kind == Type.STRUCT:
            self.struct({}, self.deeper(depth))
        elif kind in (Type.LIST, Type.SET):
            inner, count = self.counted()
            self.skip_all(inner, count, self.deeper(depth))
        elif kind == Type.MAP:
            self.skip_pairs(self.deeper(depth))
        else:
            self.step_over(kind, 1)

    def skip_all(self, kind: int, count: int, depth: int) -> None:
        if kind in _SCALARS:
            self.step_over(kind, count)
            return
        self.spend(count)
        for _ in range(count):
            self.skip(kind, depth)

    def skip_pairs(self, depth: int) -> None:
        key, value, count = self.pairs()
        if not 0 <= count <= self.end - self.at:
            self.too_long("a map", count)
        self.spend(2 * count)
        for _ in range(count):
            self.skip(key, depth)
            self.skip(value, depth)

    # ── bounds ──

    def spend(self, values: int) -> None:
        self.left -= values
        if self.left < 0:
            raise Malformed("thrift", f"the message has more than {MAX_VALUES} values")

    def deeper(self, depth: int) -> int:
        if depth <= 1:
            raise Malformed("thrift", f"values are nested deeper than {MAX_DEPTH}")
        return depth - 1

    def too_long(self, what: str, size: int) -> NoReturn:
        raise Malformed("thrift", f"{what} of {size} is announced where {self.end - self.at} bytes are left")

    def no_type(self, kind: int) -> NoReturn:
        raise Malformed("thrift", f"there is no type {kind} (byte {self.at})")


_SKIPPED: Read = {}
_SIZES = {Type.BOOL: 1, Type.BYTE: 1, Type.DOUBLE: 8, Type.I16: 2, Type.I32: 4, Type.I64: 8}
_SCALARS = frozenset(_SIZES)
_FORMATS = {
    int(Type.BYTE): _BYTE,
    int(Type.DOUBLE): _DOUBLE,
    int(Type.I16): _SHORT,
    int(Type.I32): _INT,
    int(Type.I64): _LONG,
}


class _Binary(_Reader):
    def message(self) -> tuple[bytes, int]:
        """Also without a version, as in the protocol's first days."""
        (first,) = _INT.unpack_from(self.data, 0)
        if first >= 0:
            name = self.string()
            kind = self.data[self.at]
            self.at += 5
            return name, kind
        if (first >> 16) & 0xFFFF != _VERSION:
            raise Malformed("thrift", f"version {(first >> 16) & 0xFFFF:#x} of the binary protocol is not known")
        self.at = 4
        name = self.string()
        self.at += 4
        return name, first & 0xFF

    def struct(self, shape: Shape, depth: int) -> Read:
        found: Read = {}
        data = self.data
        while True:
            kind = data[self.at]
            if not kind:
                self.at += 1
                return found
            self.left -= 1
            if self.left < 0:
                self.spend(0)
            kind, number = _FIELD.unpack_from(data, self.at)
            self.at += 3
            wanted = shape.get(number)
            if wanted is None or wanted.type != kind:
                self.skip(kind, depth)
            elif kind == Type.I64:
                (found[number],) = _LONG.unpack_from(data, self.at)
                self.at += 8
            else:
                found[number] = self.value(wanted, depth)

    def elements(self) -> tuple[int, int]:
        kind, count = _ELEMENTS.unpack_from(self.data, self.at)
        self.at += 5
        return kind, count

    def pairs(self) -> tuple[int, int, int]:
        key = self.data[self.at]
        value, count = _ELEMENTS.unpack_from(self.data, self.at + 1)
        self.at += 6
        return key, value, count

    def size(self) -> int:
        size: int = _INT.unpack_from(self.data, self.at)[0]
        self.at += 4
        return size

    def scalar(self, kind: int) -> bool | int | float:
        if kind == Type.BOOL:
            self.at += 1
            return self.data[self.at - 1] != 0
        form = _FORMATS[kind]
        value: int | float = form.unpack_from(self.data, self.at)[0]
        self.at += form.size
        return value

    def step_over(self, kind: int, count: int) -> None:
        size = _SIZES.get(kind)  # type: ignore[call-overload]
        if size is None:
            self.no_type(kind)
        if count * size > self.end - self.at:
            self.too_long("a list", count)
        self.at += count * size


class _Compact(_Reader):
    def message(self) -> tuple[bytes, int]:
        if self.data[0] != _COMPACT_ID or self.data[1] & 0x1F != _COMPACT_VERSION:
            raise Malformed("thrift", f"{self.data[:2].hex()} is not how a message of the compact protocol begins")
        kind = self.data[1] >> 5
        self.at = 2
        self.varint()
        return self.string(), kind

    def struct(self, shape: Shape, depth: int) -> Read:
        found: Read = {}
        data, number = self.data, 0
        while True:
            head = data[self.at]
            self.at += 1
            if not head & 15:
                return found
            self.left -= 1
            if self.left < 0:
                self.spend(0)
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            kind = self.type(head & 15)
            wanted = shape.get(number)
            if kind == Type.BOOL:  # the value is in the type
                if wanted is not None and wanted.type == kind:
                    found[number] = head & 15 == 1
            elif wanted is None or wanted.type != kind:
                self.skip(kind, depth)
            elif kind == Type.STRING:
                found[number] = self.string()
            else:
                found[number] = self.value(wanted, depth)

    def elements(self) -> tuple[int, int]:
        head = self.data[self.at]
        self.at += 1
        count = head >> 4
        return self.type(head & 15), self.varint() if count == 15 else count

    def pairs(self) -> tuple[int, int, int]:
        count = self.varint()
        if not count:
            return Type.BOOL, Type.BOOL, 0
        kinds = self.data[self.at]
        self.at += 1
        return self.type(kinds >> 4), self.type(kinds & 15), count

    def size(self) -> int:
        return self.varint()

    def scalar(self, kind: int) -> bool | int | float:
        if kind == Type.DOUBLE:
            value: float = _COMPACT_DOUBLE.unpack_from(self.data, self.at)[0]
            self.at += 8
            return value
        if kind in (Type.BOOL, Type.BYTE):
            self.at += 1
            return self.data[self.at - 1] == 1
        return self.zigzag()

    def step_over(self, kind: int, count: int) -> None:
        size = {Type.BOOL: 1, Type.BYTE: 1, Type.DOUBLE: 8}.get(kind)  # type: ignore[call-overload]
        if size is not None:
            if count * size > self.end - self.at:
                self.too_long("a list", count)
            self.at += count * size
            return
        if kind not in _SCALARS:
            self.no_type(kind)
        self.spend(count)
        for _ in range(count):
            self.varint()

    def type(self, compact: int) -> int:
        if compact >= len(_COMPACT):
            self.no_type(compact)
        return _COMPACT[compact]

    def zigzag(self) -> int:
        raw = self.varint()
        return (raw >> 1) ^ -(raw & 1)

    def varint(self) -> int:
        """Unsigned, 64 bits at most."""
        data, at = self.data, self.at
        byte = data[at]
        value, shift = byte & 0x7F, 7
        while byte & 0x80:
            at += 1
            byte = data[at]
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 70:
                raise Malformed("thrift", f"a number longer than 64 bits begins at byte {self.at}")
        self.at = at + 1
        return value & 0xFFFFFFFFFFFFFFFF

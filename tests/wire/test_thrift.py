"""Foreign Thrift, honest and hostile. Source: Thrift's "Binary protocol" and "Compact protocol"."""

import struct
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.errors import Malformed
from sampan.wire.thrift import MAX_VALUES, Of, Shape, Type, read_call, read_struct

INNER: Shape = {1: Of(Type.STRING)}
SHAPE: Shape = {
    1: Of(Type.STRING),
    2: Of(Type.I64),
    3: Of(Type.DOUBLE),
    4: Of(Type.BOOL),
    5: Of(Type.I32),
    6: Of(Type.STRUCT, INNER),
    7: Of(Type.LIST, INNER, 2),
}
NAME = b"\x0b\x00\x01\x00\x00\x00\x02hi"  # field 1 in binary: a string, "hi"


def compact(fields: bytes) -> bytes:
    """A one-way call of `go`, its first argument a struct of these fields."""
    return b"\x82\x81\x01\x02go\x1c" + fields + b"\x00\x00"


def read_compact(fields: bytes, shape: Shape = SHAPE) -> object:
    return read_call(compact(fields), True, "go", {1: Of(Type.STRUCT, shape)})[1]


def test_each_type_is_read_from_the_binary_protocol() -> None:
    fields = NAME + b"\x0a\x00\x02" + struct.pack(">q", -9) + b"\x04\x00\x03" + struct.pack(">d", 1.5)
    fields += b"\x02\x00\x04\x01" + b"\x08\x00\x05" + struct.pack(">i", -3) + b"\x0c\x00\x06" + NAME + b"\x00"
    fields += b"\x0f\x00\x07\x0c\x00\x00\x00\x01" + NAME + b"\x00\x00"
    read = read_struct(fields, SHAPE)
    assert read == {1: b"hi", 2: -9, 3: 1.5, 4: True, 5: -3, 6: {1: b"hi"}, 7: [{1: b"hi"}]}


def test_each_type_is_read_from_the_compact_protocol() -> None:
    fields = b"\x18\x02hi" + b"\x16\x11" + b"\x17" + struct.pack("<d", 1.5) + b"\x11" + b"\x15\x05"
    fields += b"\x1c\x18\x02hi\x00" + b"\x19\x1c\x18\x02hi\x00"
    read = read_compact(fields)
    assert read == {1: b"hi", 2: -9, 3: 1.5, 4: True, 5: -3, 6: {1: b"hi"}, 7: [{1: b"hi"}]}


def test_a_compact_field_may_have_its_number_in_full() -> None:
    assert read_compact(b"\x06\x04\x11") == {2: -9}


def test_unknown_fields_of_every_type_are_stepped_over() -> None:
    known, unknown = (
        NAME,
        b"".join(
            bytes([kind]) + b"\x00\x63" + value
            for kind, value in (
                (2, b"\x01"),
                (3, b"\x01"),
                (4, bytes(8)),
                (6, bytes(2)),
                (8, bytes(4)),
                (10, bytes(8)),
                (11, b"\x00\x00\x00\x01x"),
                (12, NAME + b"\x00"),
                (13, b"\x0b\x0c\x00\x00\x00\x01" + b"\x00\x00\x00\x01k" + NAME + b"\x00"),
                (14, b"\x06\x00\x00\x00\x02" + bytes(4)),
                (15, b"\x0f\x00\x00\x00\x01\x02\x00\x00\x00\x03" + bytes(3)),
            )
        ),
    )
    assert read_struct(unknown + known + b"\x00", SHAPE) == {1: b"hi"}


def test_unknown_compact_fields_are_stepped_over() -> None:
    unknown = (
        b"\x05\xc6\x01\x07" + b"\x0b\xc8\x01\x01\x88\x01k\x01v" + b"\x0a\xca\x01\x35\x01\x02\x03" + b"\x01\xcc\x01"
    )
    assert read_compact(unknown + b"\x08\x02\x02hi") == {1: b"hi"}


def test_a_field_of_another_type_than_expected_is_left_out() -> None:
    assert read_struct(b"\x08\x00\x01\x00\x00\x00\x07" + b"\x00", SHAPE) == {}
    assert read_struct(b"\x0f\x00\x07\x08\x00\x00\x00\x01\x00\x00\x00\x07" + b"\x00", SHAPE) == {7: []}


def test_elements_beyond_what_is_kept_are_stepped_over_and_stand_there_empty() -> None:
    three = b"\x0f\x00\x07\x0c\x00\x00\x00\x03" + 3 * (NAME + b"\x00")
    assert read_struct(three + NAME + b"\x00", SHAPE) == {7: [{1: b"hi"}, {1: b"hi"}, {}], 1: b"hi"}


def test_a_message_without_a_version_is_read_as_in_the_first_days() -> None:
    call = b"\x00\x00\x00\x02go\x04\x00\x00\x00\x07" + b"\x0c\x00\x01" + NAME + b"\x00\x00"
    assert read_call(call, False, "go", {1: Of(Type.STRUCT, INNER)}) == {1: {1: b"hi"}}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "ends in the middle"),
        (NAME, "ends in the middle"),
        (b"\x0b\x00\x01\x7f\xff\xff\xff", "2147483647 is announced where 0 bytes"),
        (b"\x0b\x00\x01\xff\xff\xff\xffabc", "-1 is announced"),
        (b"\x0b\x00\x63\x7f\xff\xff\xffx", "2147483647 is announced"),
        (b"\x0f\x00\x07\x0c\x7f\xff\xff\xff\x00", "a list of 2147483647 is announced"),
        (b"\x0f\x00\x07\x0c\xff\xff\xff\xff\x00", "a list of -1 is announced"),
        (b"\x0f\x00\x07\x00\x00\x00\x00\x01\x00", "no type 0"),
        (b"\x0f\x00\x63\x0a\x00\x00\x00\x02" + bytes(15), "a list of 2"),
        (b"\x0d\x00\x63\x02\x02\x7f\xff\xff\xff", "a map of 2147483647"),
        (b"\x05\x00\x01", "no type 5"),
        (b"\x0c\x00\x63" * 40, "nested deeper"),
        (b"\x0f\x00\x63" + b"\x0f\x00\x00\x00\x01" * 40, "nested deeper"),
    ],
)
def test_hostile_binary_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read_struct(body, SHAPE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (b"\x18\xff\xff\xff\xff\x0f", "is announced"),
        (b"\x16" + b"\xff" * 65_000, "longer than 64 bits"),
        (b"\x19\xf0" + b"\xff" * 8 + b"\x7f", "is announced"),
        (b"\x19\x20\x00\x00\x00", "no type 0"),
        (b"\x1d", "no type 13"),
        (b"\x0c\x7e" * 40, "nested deeper"),
        (b"\x0b\x7e\xff\xff\xff\xff\x0f\x11", "a map of"),
    ],
)
def test_hostile_compact_is_refused(fields: bytes, said: str) -> None:
    with pytest.raises(Malformed, match=said):
        read_compact(fields)


def test_a_flood_of_empty_structs_ends_at_the_bound() -> None:
    flood = b"\x0f\x00\x63\x0c" + struct.pack(">i", MAX_VALUES + 1) + bytes(MAX_VALUES + 2)
    with pytest.raises(Malformed, match="more than"):
        read_struct(flood, SHAPE)


def test_nothing_is_allocated_for_what_is_announced() -> None:
    tracemalloc.start()
    for body in (b"\x0b\x00\x01\x7f\xff\xff\xff", b"\x0f\x00\x07\x0c\x7f\xff\xff\xff"):
        with pytest.raises(Malformed):
            read_struct(body, SHAPE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_another_call_or_version_is_refused() -> None:
    for message in (b"\x82\x81\x01\x04stop\x00", b"\x82\x41\x01\x02go\x00", b"\x81\x81\x01\x02go\x00", b"\x82"):
        with pytest.raises(Malformed):
            read_call(message, True, "go", {})
    for message in (
        b"\x80\x02\x00\x04\x00\x00\x00\x02go\x00\x00\x00\x01\x00",
        b"\x80\x01",
        b"",
        b"\x7f\xff\xff\xff",
    ):
        with pytest.raises(Malformed):
            read_call(message, False, "go", {})


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (
        lambda: read_struct(data, SHAPE),
        lambda: read_compact(data),
        lambda: read_call(data, False, "go", SHAPE),
        lambda: read_call(data, True, "go", SHAPE),
    ):
        with suppress(Malformed):
            assert isinstance(read(), dict)

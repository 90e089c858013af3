"""tracestate and baggage: tracing-contract.md §5.1."""

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import baggage as otel
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace.span import TraceState

from sampan.telemetry import members

MANY = [f"k{n}=v" for n in range(1000)]


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        (["a=1"], "a=1"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1 , \tb=2"], "a=1 , \tb=2"),  # kept verbatim
        (["a=1,,b=2"], "a=1,,b=2"),  # empty members are allowed
        (["tenant@system=x", "0a_-*/@=!~ y"], "tenant@system=x,0a_-*/@=!~ y"),
        (["a=1,a=2"], "a=1,a=2"),
        (["k" * 256 + "=" + "v" * 256], "k" * 256 + "=" + "v" * 256),
        ([""], ""),
        ([" , ,"], ""),
        (["A=1"], ""),  # a member that breaks the rules takes all with it
        (["a=1,b"], ""),
        (["a=1,=2"], ""),
        (["a=1=2"], ""),
        (["a="], ""),
        (["a=é"], ""),
        (["a=\x00"], ""),
        (["a=1\x7f"], ""),
        (["k" * 257 + "=1"], ""),
        (["a=" + "v" * 257], ""),
        (["_a=1"], ""),
        (["a b=1"], ""),
    ],
)
def test_tracestate_is_kept_verbatim_or_dropped_as_a_whole(lines: list[str], whole: str) -> None:
    assert members.tracestate([line.encode("latin-1") for line in lines]) == whole


def test_of_too_many_members_the_last_go() -> None:
    assert members.tracestate([",".join(MANY).encode()]) == ",".join(MANY[:32])


def test_long_members_go_first_and_only_as_many_as_must() -> None:
    long = [f"long{n}=" + "x" * 200 for n in range(10)]
    short = [f"s{n}=" + "y" * 40 for n in range(10)]
    mixed = [member for pair in zip(long, short, strict=True) for member in pair]
    kept = members.tracestate([",".join(mixed).encode()]).split(",")
    assert [member for member in kept if member in short] == short
    assert [member for member in kept if member in long] == long[: len(kept) - len(short)]
    assert len(",".join(kept)) <= members.STATE_LENGTH < len(",".join([*kept, long[0]]))


@given(st.lists(st.integers(1, 256), min_size=1, max_size=60))
def test_what_is_kept_of_tracestate_is_whole_members_in_order(lengths: list[int]) -> None:
    given_ = [f"k{n}=" + "v" * length for n, length in enumerate(lengths)]
    kept = members.tracestate([",".join(given_).encode()]).split(",")
    assert [member for member in given_ if member in set(kept)] == kept
    assert len(kept) <= 32
    assert 512 <= len(",".join(kept)) <= members.STATE_LENGTH or len(kept) == min(32, len(given_))


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), st.text("abc !~", min_size=1)), max_size=8
    )
)
def test_tracestate_is_read_as_opentelemetry_reads_it(pairs: list[tuple[str, str]]) -> None:
    pairs = [(key, value.strip() or "x") for key, value in dict(pairs).items()]
    line = ",".join(f"{key}={value}" for key, value in pairs)
    assert members.tracestate([line.encode()]) == TraceState.from_header([line]).to_header()


@pytest.mark.parametrize(
    ("lines", "whole"),
    [
        (["a=1;p=2;q , b=%2C"], "a=1;p=2;q , b=%2C"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["no member at all"], "no member at all"),  # not ours to judge
        (["a=\xc3\xbc"], "a=\xc3\xbc"),
        (["a=1\r\nX-Evil: 1"], ""),
        (["a=\x00"], ""),
        ([""], ""),
    ],
)
def test_baggage_is_kept_verbatim_unless_it_breaks_a_line(lines: list[str], whole: str) -> None:
    assert members.baggage([line.encode("latin-1") for line in lines]) == whole


def test_baggage_is_bounded_by_whole_members() -> None:
    assert members.baggage([",".join(MANY).encode()]) == ",".join(MANY[:180])
    huge = ["a=1", "b=" + "x" * 8000, "c=" + "y" * 300, "d=2"]
    assert members.baggage([",".join(huge).encode()]) == ",".join(huge[:2])
    assert members.baggage([b"a=" + b"x" * 9000]) == ""
    assert members.baggage([b"," * 9000]).strip(",") == ""


def test_other_baggage_cannot_break_a_line_or_take_a_key_that_is_told() -> None:
    others = [("a", "2"), ("evil", "1\r\nX: 2"), ("no key", "1"), ("ü", "1"), ("", "1"), ("pct", '100%,;\\"')]
    whole = members.baggage([b"a=1"], others)
    assert whole == "a=1,evil=1%0D%0AX:%202,pct=100%25%2C%3B%5C%22"
    assert members.entries(whole) == {"a": "1", "evil": "1\r\nX: 2", "pct": '100%,;\\"'}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z0-9_.\-]{1,12}", fullmatch=True), st.text(st.characters(codec="utf-8")), max_size=8
    )
)
def test_baggage_is_written_so_that_opentelemetry_reads_the_same(told: dict[str, str]) -> None:
    whole = members.baggage([], list(told.items()))
    assert members.entries(whole) == told
    propagator = W3CBaggagePropagator()  # which strips what it has decoded
    theirs = otel.get_all(propagator.extract({"baggage": [whole]}))
    assert {key: value.strip() for key, value in told.items()} == theirs


@given(st.binary(max_size=300))
def test_no_baggage_breaks_the_json_of_it(value: bytes) -> None:
    decoded = msgspec.json.decode(base64.b64decode(members.as_json(members.baggage([value]))))
    assert isinstance(decoded, dict)


def test_baggage_as_json_is_an_object_and_leaves_room_for_other_headers() -> None:
    """§4"""
    assert base64.b64decode(members.as_json("")) == b"{}"
    assert msgspec.json.decode(base64.b64decode(members.as_json("a=1;p, b=%C3%BC"))) == {"a": "1", "b": "ü"}
    big = ",".join(f"key{n}={'x' * 100}" for n in range(78))
    found = msgspec.json.decode(base64.b64decode(members.as_json(big)))
    assert list(found) == [f"key{n}" for n in range(len(found))]
    assert len(found) > 25
    assert len(members.as_json(big)) <= members.JSON_LENGTH * 4 // 3 + 4
    assert base64.b64decode(members.as_json("a=" + "x" * 8000)) == b"{}"

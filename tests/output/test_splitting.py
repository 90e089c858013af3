"""Lines from bytes, however the bytes come."""

from hypothesis import given
from hypothesis import strategies as st

from sampan.output.lines import MAX_LINE
from sampan.output.splitting import Splitter

MOST = 1 << 20


def fed(data: bytes, sizes: list[int], most: int = MOST) -> tuple[list[str], Splitter]:
    """The data in chunks of these sizes, what was not taken given again."""
    splitter, found, at = Splitter(0), [], iter(sizes)
    while splitter.read < len(data):
        chunk = data[splitter.read :][: next(at, len(data))]
        found += splitter.feed(chunk, (), 5, most)
    return [piece.text for piece in found + splitter.rest()], splitter


@given(st.binary(max_size=300), st.lists(st.integers(1, 40)), st.integers(1, 5))
def test_how_bytes_are_cut_into_chunks_does_not_change_the_lines(data: bytes, sizes: list[int], most: int) -> None:
    whole = [line.removesuffix(b"\r").decode(errors="replace") for line in data.split(b"\n")]
    if data.endswith(b"\n") or not data:
        whole.pop()
    elif data.endswith(b"\r"):
        whole[-1] += "\r"  # it may not have been the end of the line
    assert fed(data, sizes, most)[0] == whole


@given(st.binary(max_size=200), st.lists(st.integers(1, 20)), st.data())
def test_reading_anew_from_done_repeats_and_loses_nothing(
    data: bytes, sizes: list[int], choose: st.DataObject
) -> None:
    splitter, kept, at = Splitter(0), [], iter(sizes)
    for _ in range(choose.draw(st.integers(0, 10))):
        chunk = data[splitter.read :][: next(at, len(data))]
        kept += splitter.feed(chunk, (), 5, MOST)
    again = Splitter(splitter.done)
    kept += again.feed(data[again.read :], (), 5, MOST) + again.rest()
    assert [piece.text for piece in kept] == fed(data, [])[0]


def test_a_line_that_is_too_long_comes_in_pieces_and_no_character_is_cut() -> None:
    text = "é" * MAX_LINE + "end"
    lines, _ = fed(text.encode() + b"\nnext\n", [777, 70_000, 3])
    assert "".join(lines[:-1]) == text
    assert lines[-1] == "next"
    assert all(len(line.encode()) <= MAX_LINE for line in lines)


def test_what_is_no_text_is_kept_as_far_as_it_can_be_shown() -> None:
    lines, splitter = fed(b"\xff\xfe\x00ok\n" + b"\x80" * (MAX_LINE + 10) + b"\n", [])
    assert lines[0] == "��\0ok"
    assert sum(map(len, lines[1:])) == MAX_LINE + 10
    assert splitter.done == splitter.read


def test_a_line_has_the_time_by_which_its_end_was_there() -> None:
    splitter = Splitter(100)
    pieces = splitter.feed(b"one\ntwo\nthree\nfo", ((104, 10), (108, 20), (116, 30)), 99, MOST)
    assert [(piece.text, piece.time) for piece in pieces] == [("one", 10), ("two", 20), ("three", 30)]
    pieces = splitter.feed(b"ur\n", ((119, 40),), 99, MOST)
    assert [(piece.text, piece.time) for piece in pieces] == [("four", 40)]


def test_a_clock_that_was_set_back_keeps_the_order_of_lines() -> None:
    splitter = Splitter(0)
    times = [piece.time for piece in splitter.feed(b"a\nb\nc\n", ((2, 50), (4, 20), (6, 60)), 0, MOST)]
    assert times == [50, 50, 60]

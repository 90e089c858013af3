"""How an invocation's time is divided: tracing-contract.md §3."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.model.errors import FailureKind
from sampan.model.instance import FAILED, Stage
from sampan.model.invocation import InvocationRecord, Outcome
from sampan.telemetry.layout import FAILED_STAGES, GROUPS, Piece, layout, waited_for_start
from sampan.wire.errors import FAILURES
from tests.telemetry.records import BEGAN, COLD, at, cold_record, record, stage


def drawn(pieces: Iterable[Piece], depth: int = 0) -> list[str]:
    """A line per piece, `name begin-end` in ms, a space in front per floor, ! behind what failed."""
    lines = []
    for piece in pieces:
        begin, end = ((moment - BEGAN) / 1e6 for moment in (piece.begin, piece.end))
        lines.append(f"{' ' * depth}{piece.name} {begin:g}-{end:g}{'!' if piece.failed else ''}")
        lines += drawn(piece.within, depth + 1)
    return lines


def test_a_warm_request_waits_and_runs() -> None:
    assert drawn(layout(record())) == ["Schedule 0-1", "Invocation 1-11"]


def test_a_cold_start_shows_every_stage_and_every_wait() -> None:
    assert drawn(layout(cold_record())) == [
        "Schedule 0-2",
        "ColdStart 2-180",
        " PrepareCode 2-108",
        "  pull 2-102",
        "  Schedule 102-103",
        "  prepare 103-108",
        " RuntimeInitialization 108-180",
        "  create 108-120",
        "  Schedule 120-122",
        "  start 122-124",
        "  ready 124-180",
        "Schedule 180-181",
        "Initializer 181-200",
        "Schedule 200-202",
        "Invocation 202-250",
    ]


def test_what_was_done_before_the_request_came_is_not_its_wait() -> None:
    """A spare's sandbox was made before; a start that was under way for somebody else counts from now on."""
    begun = (stage("prepare", -30, -20), stage("create", -20, -10), stage("start", -1, 3), stage("ready", 3, 40))
    assert drawn(layout(record(leased=41, ended=50, cold=True, startup=begun))) == [
        "ColdStart 0-40",
        " RuntimeInitialization 0-40",
        "  start 0-3",
        "  ready 3-40",
        "Schedule 40-41",
        "Invocation 41-50",
    ]


def test_a_frozen_instance_is_thawed() -> None:
    woken = record(leased=6, ended=9, startup=(stage("queue", 0, 1), stage("thaw", 2, 5)))
    assert drawn(layout(woken)) == [
        "Schedule 0-1", "Schedule 1-2", "Thaw 2-5", "Schedule 5-6", "Invocation 6-9",
    ]  # fmt: skip


def test_a_stage_that_nobody_knows_has_a_span_of_its_own() -> None:
    assert "Restore 2-5" in drawn(layout(record(leased=6, ended=9, startup=(stage("Restore", 2, 5),))))


def test_a_cold_start_of_which_nothing_is_told_is_one_piece() -> None:
    assert drawn(layout(record(leased=9, ended=10, cold=True))) == ["ColdStart 0-9", "Invocation 9-10"]


def test_an_image_that_was_collected_is_pulled_between_the_stages() -> None:
    odd = (stage("create", 1, 2), stage("pull", 3, 4), stage("create", 4, 6))
    assert drawn(layout(record(leased=6, ended=7, cold=True, startup=odd)))[1:] == [
        "ColdStart 1-6",
        " RuntimeInitialization 1-2",
        "  create 1-2",
        " Schedule 2-3",
        " PrepareCode 3-4",
        "  pull 3-4",
        " RuntimeInitialization 4-6",
        "  create 4-6",
        "Invocation 6-7",
    ]


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.PLATFORM_ERROR])
def test_who_got_no_slot_has_waited(outcome: Outcome) -> None:
    assert drawn(layout(record(leased=0, ended=5, outcome=outcome))) == ["Schedule 0-5!"]


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.CLIENT_GONE])
def test_who_was_refused_or_went_away_is_no_failure(outcome: Outcome) -> None:
    assert drawn(layout(record(leased=0, ended=5, outcome=outcome))) == ["Schedule 0-5"]
    assert drawn(layout(record(outcome=outcome)))[-1] == "Invocation 1-11"


@pytest.mark.parametrize("outcome", [Outcome.FUNCTION_ERROR, Outcome.TIMED_OUT])
def test_a_function_fails_in_its_invocation(outcome: Outcome) -> None:
    assert drawn(layout(record(outcome=outcome))) == ["Schedule 0-1", "Invocation 1-11!"]


def failed(error: str, startup: tuple[Stage, ...]) -> list[str]:
    made = record(leased=0, ended=300, outcome=Outcome.START_FAILED, status=412, error=error, startup=startup)
    return drawn(layout(made))


def test_a_failed_start_ends_in_the_stage_that_failed() -> None:
    assert failed("FunctionNotStarted", COLD[:4]) == [
        "Schedule 0-2",
        "ColdStart 2-300!",
        " PrepareCode 2-108",
        "  pull 2-102",
        "  Schedule 102-103",
        "  prepare 103-108",
        " RuntimeInitialization 108-300!",
        "  create 108-120",
        "  Schedule 120-122",
        "  start 122-124",
        "  ready 124-300!",
    ]
    assert failed("InitializationError", COLD[:5])[-2:] == ["  ready 124-180", "Initializer 180-300!"]
    assert failed("DiskFull", COLD[:1])[-1] == "  prepare 102-300!"


def test_a_failed_start_lasts_as_long_as_it_was_tried_and_a_failure_told_again_is_no_start() -> None:
    assert failed("FunctionNotStarted", (*COLD[:4], stage(FAILED, 124, 299)))[-2:] == [
        "  start 122-124",
        "  ready 124-300!",
    ]
    assert failed("CAExited", (stage(FAILED, -5, 299),)) == [
        "ColdStart 0-300!",
        " RuntimeInitialization 0-300!",
        "  ready 0-300!",
    ]
    assert failed("CAExited", (stage("start", -5, -4), stage(FAILED, -4, -1))) == ["Schedule 0-300!"]


def test_a_failed_start_of_which_nothing_is_told_is_one_piece() -> None:
    assert failed("ImagePullFailed", ()) == ["ColdStart 0-300!"]
    assert failed("ResourceThrottled", ()) == ["Schedule 0-300!"]  # it never came to a start


@pytest.mark.parametrize(
    ("error", "startup", "cold"),
    [
        ("CAExited", COLD[:4], True),
        ("ImagePullFailed", (), True),
        (
            "CAExited",
            (stage("start", -5, -4), stage(FAILED, -4, -1)),
            False,
        ),  # it heard of a failure before its time
        ("ResourceThrottled", (), False),
    ],
)
def test_who_waited_for_a_start_that_failed_suffered_a_cold_start(
    error: str, startup: tuple[Stage, ...], cold: bool
) -> None:
    made = record(leased=0, ended=300, outcome=Outcome.START_FAILED, status=412, error=error, startup=startup)
    assert waited_for_start(made) is cold
    assert waited_for_start(record()) is False


def test_every_way_a_start_fails_has_its_stage() -> None:
    for kind in FailureKind:
        _, code = FAILURES[kind]
        assert FAILED_STAGES[code] in GROUPS, kind


moments = st.integers(-1000, 5000)
names = st.sampled_from([*GROUPS, "other"])
stages = st.lists(
    st.builds(Stage, names, moments.map(lambda ms: at(ms)), moments.map(lambda ms: at(ms))), max_size=8
)


@st.composite
def records(draw: st.DrawFn) -> InvocationRecord:
    outcome = draw(st.sampled_from(list(Outcome)))
    leased = draw(st.integers(0, 3000))
    error = draw(st.sampled_from(["", *FAILED_STAGES])) if outcome is Outcome.START_FAILED else ""
    startup, cold, ended = tuple(draw(stages)), draw(st.booleans()), draw(st.integers(0, 4000))
    return record(leased=leased, ended=ended, outcome=outcome, cold=cold, startup=startup, error=error)


@given(records())
def test_there_is_never_a_hole_nor_an_overlap(made: InvocationRecord) -> None:
    """Whatever clocks and stages say, also when a stage ends before it begins."""

    def check(pieces: tuple[Piece, ...], begin: int, end: int) -> None:
        assert (pieces[0].begin, pieces[-1].end) == (begin, end)
        assert all(one.end == after.begin for one, after in pairwise(pieces))
        for piece in pieces:
            assert piece.begin <= piece.end
            if piece.within:
                check(piece.within, piece.begin, piece.end)

    pieces = layout(made)
    check(pieces, made.received, made.ended)
    assert ("Invocation" in [piece.name for piece in pieces]) is bool(made.leased)

"""Whose request a line is about."""

from sampan.output.requests import RECENT, SLACK, Requests

MS = 1_000_000


def start(requests: Requests, name: str, at: int) -> str:
    return requests.stdout(f"FC Invoke Start RequestId: {name}", at * MS)


def end(requests: Requests, name: str, at: int, error: str = "") -> str:
    return requests.stdout(f"FC Invoke End RequestId: {name}{error}", at * MS)


def test_what_is_between_the_frames_belongs_to_the_request() -> None:
    requests = Requests(concurrency=1)
    assert requests.stdout("before", 0) == ""
    assert start(requests, "1-a", 1) == "1-a"
    assert requests.stdout("inside", 2 * MS) == "1-a"
    assert end(requests, "1-a", 3, ", Error: Function time out") == "1-a"
    assert requests.stdout("after", 4 * MS) == ""


def test_where_two_requests_are_under_way_none_is_named() -> None:
    requests = Requests(concurrency=2)
    start(requests, "1-a", 1)
    start(requests, "1-b", 2)
    assert requests.stdout("whose?", 3 * MS) == ""
    end(requests, "1-a", 4)
    assert requests.stdout("b's", 5 * MS) == "1-b"


def test_an_end_that_was_never_told_is_forgotten_with_the_next_start() -> None:
    requests = Requests(concurrency=1)
    start(requests, "1-a", 1)
    start(requests, "1-b", 2)
    assert requests.stdout("inside", 3 * MS) == "1-b"
    assert requests.open == ("1-b",)


def test_stderr_is_told_by_its_time() -> None:
    requests = Requests(concurrency=1)
    start(requests, "1-a", 1000)
    assert requests.stderr(1100 * MS) == "1-a"
    end(requests, "1-a", 1500)
    start(requests, "1-b", 5000)
    end(requests, "1-b", 6000)
    assert requests.stderr(1200 * MS) == "1-a"
    assert requests.stderr(1500 * MS + SLACK) == "1-a"
    assert requests.stderr(3000 * MS) == ""
    assert requests.stderr(5500 * MS) == "1-b"


def test_stderr_names_none_of_two_requests_it_may_be_about() -> None:
    requests = Requests(concurrency=1)
    for name in ("1-a", "1-b"):
        start(requests, name, 1000)
        end(requests, name, 1000)
    assert requests.stderr(1000 * MS) == ""


def test_a_new_frame_changes_what_is_told_of_the_same_time() -> None:
    requests = Requests(concurrency=1)
    assert requests.stderr(1000 * MS) == ""
    start(requests, "1-a", 1000)
    assert requests.stderr(1000 * MS) == "1-a"


def test_what_is_under_way_is_known_after_a_restart_and_unknown_after_a_gap() -> None:
    requests = Requests(("1-a",), concurrency=1)
    assert requests.stdout("inside", MS) == "1-a"
    assert requests.stderr(MS) == "1-a"
    requests.lost()
    assert requests.stdout("inside?", 2 * MS) == ""


def test_a_function_that_prints_frames_of_its_own_fills_nothing() -> None:
    requests = Requests()
    for at in range(5000):
        start(requests, f"fake-{at}", at)
    assert len(requests.open) <= 1000
    assert len(requests._recent) <= RECENT
    assert requests.stdout("FC Invoke Start RequestId: " + "x" * 60_000, 1) == ""

"""When the next try is, and how long a back-end asks to wait."""

from email.utils import formatdate
from time import time

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st

from sampan.collector.export.patience import Limits, pause, retry_after
from sampan.collector.export.retry_info import retry_delay


def test_pauses_double_up_to_a_bound_and_vary() -> None:
    limits = Limits(backoff=1.0, backoff_max=30.0)
    assert [pause(limits, failures, None, 1.0) for failures in range(1, 8)] == [1, 2, 4, 8, 16, 30, 30]
    assert pause(limits, 3, None, 0.0) == 2.0
    assert pause(limits, 10_000, None, 1.0) == 30.0


@given(st.integers(1, 10**6), st.none() | st.floats(0, 1e12), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_what_was_asked_for_at_least_and_bounded(
    failures: int, asked: float | None, jitter: float
) -> None:
    limits = Limits()
    wait = pause(limits, failures, asked, jitter)
    assert limits.backoff / 2 <= wait <= limits.age
    assert wait >= min(asked or 0.0, limits.age)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        (None, None),
        ("", None),
        ("soon", None),
        ("-3", None),
        ("9" * 400, 999999999),
    ],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    soon = retry_after(formatdate(time() + 60, usegmt=True))
    assert soon is not None
    assert 55 < soon <= 60
    assert retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0.0
    assert retry_after("Thu, 99 Jan 9999999 00:00:00 GMT") is None


def detailed(*details: Any) -> bytes:
    return Status(code=14, message="busy", details=details).SerializeToString()


def packed(message: RetryInfo | ErrorInfo) -> Any:
    entry = Any()
    entry.Pack(message)
    return entry


def test_retry_info_is_found_among_other_details() -> None:
    info = RetryInfo(retry_delay=Duration(seconds=3, nanos=500_000_000))
    assert retry_delay(detailed(packed(ErrorInfo(reason="x")), packed(info))) == 3.5
    assert retry_delay(detailed(packed(RetryInfo()))) == 0.0
    assert retry_delay(detailed(packed(ErrorInfo(reason="x")))) is None
    assert retry_delay(detailed(packed(RetryInfo(retry_delay=Duration(seconds=-5))))) == 0.0
    assert retry_delay(b"") is None


@given(st.binary(max_size=200))
def test_a_status_of_any_bytes_is_read_or_ignored(status: bytes) -> None:
    found = retry_delay(status)
    assert found is None or found >= 0


@given(st.integers(0, 60))
def test_a_status_that_is_cut_off_is_read_or_ignored(length: int) -> None:
    whole = detailed(packed(RetryInfo(retry_delay=Duration(seconds=3))))
    assert retry_delay(whole[:length]) in (None, 0.0, 3.0)

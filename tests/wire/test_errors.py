import inspect

import msgspec
import pytest

from sampan.model import errors as model
from sampan.model.errors import (
    Failure,
    FailureKind,
    InvalidArgument,
    NoCapacity,
    NotSupported,
    StartFailed,
    Throttled,
)
from sampan.wire.errors import ANSWERS, FAILURES, answer, extra_headers

ERRORS = [kind for _, kind in inspect.getmembers(model, inspect.isclass) if issubclass(kind, model.SampanError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_every_error_has_its_own_entry(error):
    status, code = ANSWERS[error]
    assert 400 <= status < 600
    assert code.isalpha()


@pytest.mark.parametrize("kind", FailureKind)
def test_every_kind_of_failure_has_an_entry_and_shows_the_log(kind):
    status, code, body = answer(StartFailed(Failure(kind, "it ended", "last words")), "1-2")
    assert (status, code) == FAILURES[kind]
    assert "last words" in msgspec.json.decode(body)["Message"]


def test_callers_and_platforms_faults_are_kept_apart():
    for error, (status, _) in ANSWERS.items():
        if issubclass(error, model.CallerMistake):
            assert 400 <= status < 500


def test_the_envelope_is_fcs():
    status, code, body = answer(InvalidArgument("cpu", 0, "more"), "1-2")
    assert (status, code) == (400, "InvalidArgument")
    assert msgspec.json.decode(body) == {
        "Code": "InvalidArgument",
        "Message": "cpu: got 0, allowed is more",
        "RequestId": "1-2",
    }


def test_an_error_nobody_foresaw_says_nothing_of_itself():
    status, code, body = answer(ValueError("secret"), "1-2")
    assert (status, code) == (500, "InternalServerError")
    assert b"secret" not in body


@pytest.mark.parametrize("error", [Throttled("reserved concurrency", 0.25), NoCapacity("memory", 0.25)])
def test_who_is_throttled_is_told_when_to_come_back(error):
    assert extra_headers(error) == [("retry-after", "1"), ("x-acs-retry-after", "250")]


def test_what_is_not_supported_is_named():
    assert b"PutLayerACL" in answer(NotSupported("PutLayerACL"), "1")[2]

import httpx
import pytest

from sampan.sdk import ApiError, Client, Retries, Throttled, Unavailable, Unreachable
from sampan.sdk.exchange import Reply, pause, retry_after
from tests.sdk.loopback import KEY, Answer, Loopback, function, refusal

GET = ("GET", "/2023-03-30/functions/web")
PUBLISH = ("POST", "/2023-03-30/functions/web/versions")
BUSY = Reply(429, {"retry-after": "2"}, b"")


def test_a_refused_connection_may_always_be_tried_again_with_growing_pauses() -> None:
    policy, refused = Retries(attempts=4, backoff=0.2), httpx.ConnectError("refused")
    assert [pause(policy, attempt, refused, repeatable=False) for attempt in (1, 2, 3, 4)] == [0.2, 0.4, 0.8, None]


def test_a_broken_connection_is_not_tried_again_for_the_request_may_have_arrived() -> None:
    assert pause(Retries(), 1, httpx.ReadError("reset"), repeatable=True) is None
    assert pause(Retries(), 1, httpx.ReadTimeout("slow"), repeatable=True) is None


def test_a_busy_answer_is_waited_for_as_it_asks_and_only_when_repeating_is_harmless() -> None:
    assert pause(Retries(), 1, BUSY, repeatable=True) == 2.0
    assert pause(Retries(), 1, BUSY, repeatable=False) is None
    assert pause(Retries(), 1, Reply(429, {}, b""), repeatable=True) is None
    assert pause(Retries(longest_wait=1.0), 1, BUSY, repeatable=True) is None
    assert pause(Retries(), 1, Reply(500, {"retry-after": "1"}, b""), repeatable=True) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"x-acs-retry-after": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "inf"}, None),
        ({}, None),
    ],
)
def test_the_time_to_wait_is_read_from_either_header(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers) == seconds


def test_a_throttled_read_is_repeated_under_a_new_signature(server: Loopback, client: Client) -> None:
    server.script[GET] = [refusal(429, "ResourceExhausted", **{"x-acs-retry-after": "1"}), Answer(200, function())]
    assert client.get_function("web").function_name == "web"
    first, second = server.requests(*GET)
    assert first.headers["x-acs-signature-nonce"] != second.headers["x-acs-signature-nonce"]


def test_repeating_ends(server: Loopback, client: Client) -> None:
    server.script[GET] = refusal(503, "ResourceThrottled", "full", **{"retry-after": "0"})
    with pytest.raises(Unavailable) as caught:
        client.get_function("web")
    assert len(server.requests(*GET)) == Retries().attempts
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (
        "ResourceThrottled",
        503,
        "1-refused",
    )


def test_a_throttled_write_that_is_not_idempotent_is_sent_once(server: Loopback, client: Client) -> None:
    server.script[PUBLISH] = refusal(429, "ResourceExhausted", **{"retry-after": "0"})
    with pytest.raises(Throttled) as caught:
        client.publish_version("web")
    assert len(server.requests(*PUBLISH)) == 1
    assert caught.value.retry_after == 0.0


def test_nobody_listening_is_told_with_the_endpoint() -> None:
    with (
        Client(
            "http://127.0.0.1:1", KEY.id, KEY.secret, environment={}, retries=Retries(attempts=2, backoff=0.0)
        ) as client,
        pytest.raises(Unreachable, match=r"http://127\.0\.0\.1:1") as caught,
    ):
        client.get_function("web")
    assert not isinstance(caught.value, ApiError)
    assert KEY.secret not in str(caught.value)

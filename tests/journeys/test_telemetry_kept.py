"""What is kept of every call, whatever dies meanwhile: numbers, lines, the bill; and of traces nobody asked for."""

import itertools
import json
import random
import re
import secrets
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as plain_text

from sampan.sdk import Client, NotFound
from sampan.sdk.usage import InvocationInfo
from sampan.wire import shapes
from tests.journeys.platform import Platform, free_port, running, until
from tests.journeys.telemetry import asleep, create, follow, query, stopped, trace

pytestmark = pytest.mark.root

KILLS = 10
MORTAL = ("gateway-1", "collector", "control", "sandboxd")
NOT_CHARGED = {"throttled", "start_failed", "platform_error"}
LOUD = 250_000  # lines of 100 bytes that one function prints at once


@pytest.fixture(scope="module")
def kept() -> Iterator[Platform]:
    """A platform that samples no trace of its own accord."""
    settings = {"telemetry.port": free_port(), "telemetry.sampling": 0}
    with running(Path(tempfile.mkdtemp(prefix="sampan-kept-")), **settings) as platform:
        yield platform


@pytest.fixture(scope="module")
def client(kept: Platform) -> Iterator[Client]:
    with kept.client() as made:
        yield made


@pytest.fixture(scope="module")
def image(kept: Platform) -> str:
    return kept.push("misbehave")


# ── numbers ─────────────────────────────────────────────────────────────────────────────────────────────


def numbers(kept: Platform, function: str) -> dict[str, float]:
    """Of `/metrics`, what has this function's name and no other label that matters here."""
    answer = query(kept, "/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = defaultdict(float)
    for family in plain_text(answer.text):
        for sample in family.samples:
            if function in (sample.labels.get("function"), sample.labels.get("faas_name")):
                found[sample.name] += sample.value
    return found


def test_metrics_agree_with_the_calls_that_were_made(kept: Platform, client: Client, image: str) -> None:
    create(client, image, {"counted": {}}, idle_timeout=60)
    for path in ("/", "/", "/", "/status?code=503", "/exit?code=3", "/"):
        kept.get("counted", path)
    assert query(kept, "/metrics").status_code == 200
    unkeyed = httpx.get(f"http://127.0.0.1:{kept.settings.telemetry.port}/metrics", trust_env=False)
    assert unkeyed.status_code == 401
    until(lambda: numbers(kept, "counted")["fc_function_invocations_total"] == 6, "all are counted")
    counted = numbers(kept, "counted")
    records = list(client.invocations("counted"))
    assert len(records) == 6
    assert counted["fc_function_errors_total"] == sum(each.outcome != "ok" for each in records) == 1
    assert counted["faas_errors_total"] == 2, "OpenTelemetry's counts the answer of 503, too"
    assert counted["fc_function_cold_starts_total"] == sum(each.cold for each in records)
    assert counted["fc_function_duration_seconds_count"] == 6
    in_function = sum(int(each.ended) - int(each.leased) for each in records) / 1e9
    assert counted["fc_function_duration_seconds_sum"] == pytest.approx(in_function)
    assert counted["http_server_request_duration_seconds_count"] == 6


def test_readiness_names_the_part_that_is_ill(kept: Platform) -> None:
    def told() -> dict[str, Any]:
        answer = kept.get("localhost", "/readyz")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ill() -> list[dict[str, Any]]:
        return [part for part in told()["parts"] if not part["ok"]]

    until(lambda: told()["status"] == "ok", "all is well")
    with stopped(kept.processes()["registry"].pid):
        (part,) = until(ill, "something is ill")
        assert part["name"] == "registry"
        assert part["why"]
        assert told()["status"] == "degraded"
        assert "registry" in kept.cli("status").stdout.decode()
    until(lambda: told()["status"] == "ok", "all is well again")


# ── what is not sampled ─────────────────────────────────────────────────────────────────────────────────


def test_of_what_is_not_sampled_errors_and_cold_starts_are_kept_all_the_same(
    kept: Platform, client: Client, image: str
) -> None:
    create(client, image, {"rare": {}})
    asleep(client, "rare")
    cold, warm, failed = (kept.get("rare", path) for path in ("/", "/", "/status?code=503"))
    for answer in (cold, failed):
        found = trace(client, answer.headers["x-fc-request-id"])
        assert all(span.platform for span in found.spans)
    with pytest.raises(NotFound):
        client.trace(warm.headers["x-fc-request-id"])  # it came before the last, which is there


def test_a_caller_that_samples_not_is_obeyed_and_its_context_goes_on(
    kept: Platform, client: Client, image: str
) -> None:
    create(client, image, {"unwatched": {}}, idle_timeout=60)
    kept.get("unwatched")
    unwatched, watched = secrets.token_hex(16), secrets.token_hex(16)
    headers = {id_: f"00-{id_}-00f067aa0ba902b7-{flag}" for id_, flag in ((unwatched, "00"), (watched, "01"))}
    seen = {id_: kept.get("unwatched", "/head", headers={"traceparent": headers[id_]}).text for id_ in headers}
    for id_, flag in ((unwatched, "0"), (watched, "1")):
        assert re.search(rf"(?im)^traceparent: 00-{id_}-[0-9a-f]{{16}}-0{flag}\r?$", seen[id_]), seen[id_]
        assert re.search(rf"(?im)^uber-trace-id: {id_}:[0-9a-f]+:[0-9a-f]+:{flag}\r?$", seen[id_]), seen[id_]
    assert trace(client, watched).spans
    with pytest.raises(NotFound):
        client.trace(unwatched)


# ── lines ───────────────────────────────────────────────────────────────────────────────────────────────


class Printing:
    """Numbered lines, and which request each is of."""

    def __init__(self, kept: Platform, function: str) -> None:
        self.requests: dict[int, str] = {}
        self._kept, self._function, self._numbers = kept, function, itertools.count()

    def print(self, lines: int = 5) -> None:
        first = next(self._numbers) * lines
        answer = self._kept.get(self._function, f"/print?lines={lines}&from={first}&bytes=20")
        assert answer.status_code == 200, answer.text
        self.requests |= dict.fromkeys(range(first, first + lines), answer.headers["x-fc-request-id"])


def numbered(lines: list[dict[str, Any]]) -> list[tuple[int, str]]:
    """Number and request of those that were printed."""
    found = [(re.match(r"line (\d+) ", line["text"]), line["requestId"]) for line in lines]
    return [(int(match[1]), request) for match, request in found if match]


def test_a_followed_log_has_each_line_once_wherever_it_was_printed(
    kept: Platform, client: Client, image: str
) -> None:
    create(client, image, {"talker": {}})
    printing = Printing(kept, "talker")
    with follow(kept, "talker") as lines:
        with ThreadPoolExecutor(1) as busy:
            slow = busy.submit(kept.get, "talker", "/slow?ms=1500")
            until(lambda: len(list(client.list_instances("talker"))) == 1, "one instance is busy")
            for _ in range(5):
                printing.print()  # in another one
            assert slow.result().status_code == 200
        printing.print()
        kept.change("talker", environment_variables={"GENERATION": "2"})
        printing.print()
        asleep(client, "talker")
        printing.print()
        until(lambda: len(numbered(lines)) >= len(printing.requests), "all lines have come")
        assert sorted(numbered(lines)) == sorted(printing.requests.items())
        assert len({line["instance"] for line in lines if line["text"].startswith("line ")}) >= 3
    asleep(client, "talker")
    kept.cli("rm", "talker", "--yes", "--force")
    whole = kept.cli("logs", "talker", "--tail", "10000", "-o", "json").stdout.decode().splitlines()
    assert sorted(numbered([json.loads(line) for line in whole])) == sorted(printing.requests.items())


def test_a_function_that_prints_very_much_costs_only_itself(kept: Platform, client: Client, image: str) -> None:
    create(client, image, {"loud": {}, "quiet": {}}, cpu=0.5, memory_size=512)
    printing = Printing(kept, "quiet")
    with follow(kept, "quiet") as lines, ThreadPoolExecutor(1) as aside:
        shouting = aside.submit(kept.get, "loud", f"/print?lines={LOUD}&bytes=100")
        while not shouting.done():
            printing.print()
        printing.print()
        assert shouting.result().status_code == 200
        until(lambda: len(numbered(lines)) >= len(printing.requests), "all of the quiet one's lines have come")
        assert sorted(numbered(lines)) == sorted(printing.requests.items())


# ── the bill ────────────────────────────────────────────────────────────────────────────────────────────


class Calling:
    """Calls without a pause while the `with` lasts; keeps the ids of those that were answered whole."""

    def __init__(self, kept: Platform, function: str, clients: int) -> None:
        self.answered: list[str] = []
        self._kept, self._function, self._end = kept, function, threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]

    def _call(self) -> None:
        while not self._end.is_set():
            try:
                answer = self._kept.get(self._function)
            except httpx.HTTPError:
                continue  # it was in a gateway that was killed
            if answer.status_code == 200:
                self.answered.append(answer.headers["x-fc-request-id"])

    def __enter__(self) -> "Calling":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def charged_ms(records: list[InvocationInfo]) -> int:
    """As the bill says it is done, of functions whose instances take one request at a time."""
    stretches = [
        int(each.ended) - int(each.leased)
        for each in records
        if int(each.leased or 0) and each.instance_id and each.outcome not in NOT_CHARGED
    ]
    return sum(-(-length // 1_000_000) for length in stretches)


def test_the_bill_is_exact_whatever_was_killed_meanwhile(kept: Platform, client: Client, image: str) -> None:
    create(client, image, {"billed": {}}, idle_timeout=60)
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with Calling(kept, "billed", clients=3) as calling:
        for name in chance.sample([*MORTAL, *MORTAL, *MORTAL], KILLS):
            answered = len(calling.answered)
            until(lambda answered=answered: len(calling.answered) > answered + 10, f"calls go on (seed {seed})")
            kept.kill(name)
        answered = len(calling.answered)
        until(lambda: len(calling.answered) > answered + 10, f"calls go on (seed {seed})")
    assert len(calling.answered) == len(set(calling.answered))

    def all_there() -> list[InvocationInfo]:
        records = list(client.invocations("billed"))
        return records if set(calling.answered) <= {each.request_id for each in records} else []

    records = until(all_there, f"every answered call is written down (seed {seed})")
    assert max(Counter(each.request_id for each in records).values()) == 1, f"seed {seed}"
    bill = client.usage(function="billed")
    assert sum(line.calls for line in bill.lines) == bill.total.calls == len(records), f"seed {seed}"
    assert sum(line.active_ms for line in bill.lines) == bill.total.active_ms == charged_ms(records), f"seed {seed}"
    assert bill.total.complete
    first, last = min(int(each.received) for each in records), max(int(each.ended) for each in records)
    begun = datetime.fromtimestamp(first // 3_600_000_000_000 * 3600, UTC)
    hours = [begun + timedelta(hours=hour) for hour in range((last - first) // 3_600_000_000_000 + 3)]
    parts = [
        client.usage(function="billed", since=since, until=until).total
        for since, until in itertools.pairwise(hours)
    ]
    assert sum(part.active_ms for part in parts) == bill.total.active_ms, "hour by hour"


def test_the_bill_of_all_functions_is_the_sum_of_their_invocations(client: Client) -> None:
    bill, records = client.usage(), list(client.invocations())
    assert bill.total.calls == len(records)
    assert bill.total.active_ms == charged_ms(records)


def test_the_time_of_a_pre_stop_hook_is_on_the_bill(kept: Platform, client: Client, image: str) -> None:
    hooks = shapes.InstanceLifecycleConfig(pre_stop=shapes.LifecycleHook(handler="index.leave", timeout=10))
    create(client, image, {"leaving": {"MISBEHAVE": "leave=300ms"}}, instance_lifecycle_config=hooks)
    assert kept.get("leaving").status_code == 200

    def beyond() -> int:
        """Milliseconds that no request took."""
        active_ms: int = client.usage(function="leaving").total.active_ms
        return active_ms - charged_ms(list(client.invocations("leaving")))

    asleep(client, "leaving")
    until(lambda: beyond() >= 300, "the hook's time is charged")
    assert client.usage(function="leaving").total.calls == 1

"""`/sampan/v1`: describe, logs, status, images."""

import threading

import msgspec

from sampan.engine.engine import Stream
from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import version_key
from sampan.sdk.extensions import Description, PlatformStatus
from tests.api.raw import call, connect, create_web, signed

LOGS = "/sampan/v1/functions/web/logs"
FRAMED = b"hello\nFC Invoke Start RequestId: 1-a\none\ntwo\nFC Invoke End RequestId: 1-a\nbye\n"


def test_describe_tells_all_that_bears_on_how_a_function_runs(api, clock):
    create_web(api)
    api.run(api.catalog.versions.publish("web", None))
    view = InstanceView("c-1", "web", "LATEST", 1, InstanceState.READY, "10.0.0.1:80", 1, "", 1000, 0)
    api.rooms.running.append(view)
    failure = Failure(FailureKind.EXITED, "exited with code 3", "boom", 3)
    api.catalog.note_failure("web", version_key("web", "LATEST", 1), failure)
    status, _, body = call(api, clock, "GET", "/sampan/v1/functions/web")
    assert status == 200
    seen = msgspec.convert(body, Description)
    assert seen.function.state == "Active"
    assert [version.version_id for version in seen.versions] == ["1"]
    assert [instance.instance_id for instance in seen.instances] == ["c-1"]
    limits = msgspec.structs.asdict(seen.time_limits)
    assert limits == {
        "queue_wait": 150.0,
        "start": 120.0,
        "initialize": None,
        "run": 3.0,
        "drain": 10.0,
        "keepalive": 300.0,
    }
    last = seen.last_start_failure
    assert (last.kind, last.log_tail, last.exit_code) == ("exited", "boom", 3)
    assert seen.warnings[0] == "no .pyc files"
    assert "role" in seen.warnings[1]


def test_describing_nothing_is_a_404(api, clock):
    status, _, body = call(api, clock, "GET", "/sampan/v1/functions/web")
    assert (status, body["Code"]) == (404, "FunctionNotFound")


def test_a_start_failure_of_a_deleted_namesake_is_not_told(api, clock):
    create_web(api)
    api.catalog.note_failure("web", version_key("web", "LATEST", 1), Failure(FailureKind.EXITED, "x"))
    api.run(api.catalog.functions.delete("web"))
    create_web(api)
    assert call(api, clock, "GET", "/sampan/v1/functions/web")[2]["lastStartFailure"] is None


def test_status_and_images(api, clock):
    create_web(api)
    status, _, body = call(api, clock, "GET", "/sampan/v1/status")
    assert (status, msgspec.convert(body, PlatformStatus).functions) == (200, 1)
    assert body["platform"] == {"gateways": 1}
    [image] = call(api, clock, "GET", "/sampan/v1/images")[2]["images"]
    assert (image["reference"], image["functions"]) == ("nginx:1", ["web"])


def lines(api, clock, query=""):
    target = LOGS + query
    connection = connect(api)
    connection.request("GET", target, None, signed(api, clock, "GET", target))
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type") == "application/x-ndjson"
    found = [msgspec.json.decode(line) for line in answer.read().splitlines()]
    connection.close()
    return found


def test_a_log_says_whose_output_each_line_is(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    api.rooms.outputs["c-1", Stream.STDOUT] = FRAMED
    found = lines(api, clock)
    assert [(line["text"], line["requestId"]) for line in found] == [
        ("hello", ""),
        ("FC Invoke Start RequestId: 1-a", "1-a"),
        ("one", "1-a"),
        ("two", "1-a"),
        ("FC Invoke End RequestId: 1-a", "1-a"),
        ("bye", ""),
    ]
    assert {(line["instance"], line["version"], line["stream"]) for line in found} == {("c-1", "LATEST", "stdout")}
    assert found[0]["time"].startswith("2023-11-14T")


def test_lines_of_invocations_side_by_side_are_nobodys(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    api.rooms.outputs["c-1", Stream.STDOUT] = (
        b"FC Invoke Start RequestId: 1-a\nFC Invoke Start RequestId: 1-b\nx\nFC Invoke End RequestId: 1-a\ny\n"
    )
    assert [line["requestId"] for line in lines(api, clock)] == ["1-a", "1-b", "", "1-a", "1-b"]


def test_a_tail_is_the_newest_lines_of_one_or_all_instances(api, clock):
    create_web(api)
    for id_, text in (("c-1", b"a\nb\n"), ("c-2", b"longer\nlines\nd\n")):
        api.rooms.origins.append((id_, version_key("web", "1", 1)))
        api.rooms.outputs[id_, Stream.STDERR] = text
    assert [line["text"] for line in lines(api, clock, "?tail=2&instance=c-1")] == ["a", "b"]
    assert len(lines(api, clock, "?tail=2")) == 2
    assert lines(api, clock, "?tail=0") == []
    status, _, body = call(api, clock, "GET", LOGS + "?instance=c-9")
    assert (status, body["Code"]) == (404, "InstanceNotFound")


def test_a_line_without_its_end_is_told_at_the_end(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    api.rooms.outputs["c-1", Stream.STDOUT] = b"no newline"
    assert [line["text"] for line in lines(api, clock)] == ["no newline"]


def test_an_instance_that_nothing_is_known_of_any_more_has_no_lines(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    assert lines(api, clock) == []


def test_of_a_long_log_the_newest_part_is_told_in_whole_lines(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    api.rooms.outputs["c-1", Stream.STDOUT] = b"".join(b"%07d\n" % number for number in range(300_000))
    found = [line["text"] for line in lines(api, clock)]
    assert found == [f"{number:07}" for number in range(300_000 - len(found), 300_000)]
    assert (1 << 20) // 8 - 2 < len(found) <= (1 << 20) // 8


def test_a_followed_log_goes_on_into_new_instances(api, clock):
    create_web(api)
    api.rooms.origins.append(("c-1", version_key("web", "LATEST", 1)))
    api.rooms.outputs["c-1", Stream.STDOUT] = b"first\nsec"
    target = LOGS + "?follow=true"
    connection = connect(api)
    connection.request("GET", target, None, signed(api, clock, "GET", target))
    answer = connection.getresponse()
    found: list[str] = []

    def read(count: int) -> None:
        while len(found) < count:
            found.append(msgspec.json.decode(answer.readline())["text"])

    def waited(count: int) -> list[str]:
        thread = threading.Thread(target=read, args=(count,), daemon=True)
        thread.start()
        thread.join(30)
        return found

    assert waited(1) == ["first"]
    api.rooms.outputs["c-1", Stream.STDOUT] += b"ond\n"
    assert waited(2)[1:] == ["second"]
    api.rooms.outputs["c-2", Stream.STDOUT] = b"third\n"
    api.rooms.origins.append(("c-2", version_key("web", "LATEST", 2)))
    assert waited(3)[2:] == ["third"]
    connection.close()
    answer.close()

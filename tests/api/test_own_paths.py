"""`/sampan/v1`: describe, status, images."""

import msgspec

from sampan.model.errors import Failure, FailureKind
from sampan.model.instance import InstanceState, InstanceView
from sampan.model.names import version_key
from sampan.sdk.extensions import Description, PlatformStatus
from tests.api.raw import call, create_web


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

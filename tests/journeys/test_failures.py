"""What can go wrong with an image, a program, a call or the machine, and what people are told of it.

Each failure names itself (status, code, what to do), comes as soon as it is known, leaves the old revision serving
and nothing half made behind, and is over once its reason is.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from sampan.image.archive import push_archive
from sampan.image.layout import Layer, push_image
from sampan.image.manifest import Platform as Machine
from sampan.image.reference import Reference
from sampan.image.registry import Registry
from sampan.model.image import RegistryAuth
from sampan.sdk import ApiError, shapes
from tests.engine.daemons import PASSWORD, USER, registry
from tests.images import archive
from tests.journeys.platform import Platform, running, until

pytestmark = pytest.mark.root

PROMPT = 15.0  # seconds; what is known at once takes a fraction, waiting for a slot or a port would take minutes
SMALL = ("--memory", "128", "--cpu", "0.1")
RUN = {"Entrypoint": ["/misbehave"], "ExposedPorts": {"9000/tcp": {}}}


class Residue(NamedTuple):
    """What sandboxes take of the machine."""

    sandboxes: frozenset[str]  # by record and by cgroup
    links: int

    @staticmethod
    def of(platform: Platform) -> "Residue":
        realm, cgroups = platform.settings.platform.realm, Path("/sys/fs/cgroup")
        found = {path.name for path in (platform.layout.sandboxd_run / "sandboxes").iterdir()}
        for parent in (*cgroups.glob(f"*/sampan-{realm}"), *cgroups.glob(f"sampan-{realm}")):
            found |= {path.name for path in parent.iterdir() if path.is_dir()}
        links = [name for name in os.listdir("/sys/class/net") if name.startswith(f"s{realm}")]
        return Residue(frozenset(name for name in found if name.startswith("c-")), len(links))


class Function:
    """One function of a test. `deploy` and `get` may be called as often as wanted."""

    def __init__(self, platform: Platform, name: str) -> None:
        self.platform, self.name, self.client = platform, name, platform.client()

    def deploy(self, *words: str, code: int = 0, stdin: str = "") -> str:
        """What the command said on stderr. It ends with `code`, and soon."""
        began = time.monotonic()
        done = self.platform.cli("deploy", self.name, *words, "--public", check=False, stdin=stdin)
        said = done.stderr.decode()
        assert done.returncode == code, said + self.platform.logs()
        assert time.monotonic() - began < PROMPT
        return said

    def run(self, *start: str, words: tuple[str, ...] = (), code: int = 0) -> "Function":
        """Deploy the misbehaving image, which starts as told."""
        self.said = self.deploy("--image", pushed(self.platform), *SMALL, *words, *told(*start), code=code)
        return self

    def get(self, path: str = "/", within: float = PROMPT) -> httpx.Response:
        began = time.monotonic()
        answer = self.platform.get(self.name, path)
        assert time.monotonic() - began < within, answer.text
        return answer

    def refusal(self, path: str = "/") -> tuple[int, str, str]:
        """Status, code and message of an answer that is the platform's."""
        answer = self.get(path)
        told = json.loads(answer.text)
        assert told["RequestId"] == answer.headers["x-fc-request-id"]
        return answer.status_code, told["Code"], told["Message"]

    def serves(self) -> bool:
        return self.get().text == "ok\n"

    def boot(self) -> str:
        """Which process answers."""
        answer = self.get()
        assert answer.status_code == 200, answer.text
        return answer.headers["x-boot"]

    def described(self) -> str:
        return self.platform.cli("describe", self.name).stdout.decode()

    def remove(self) -> None:
        with contextlib.suppress(ApiError):
            for trigger in list(self.client.list_triggers(self.name)):
                self.client.delete_trigger(self.name, trigger.trigger_name)
            for alias in list(self.client.list_aliases(self.name)):
                self.client.delete_alias(self.name, alias.alias_name)
            self.client.delete_function(self.name)
        self.client.close()


@functools.cache
def pushed(platform: Platform) -> str:
    """The misbehaving image, in the platform's registry."""
    return platform.push("misbehave")


def told(*start: str) -> tuple[str, ...]:
    return ("--env", f"MISBEHAVE={' '.join(start)}") if start else ()


@contextlib.contextmanager
def leaving_nothing(platform: Platform) -> Iterator[None]:
    """Whatever was begun meanwhile is over, or undone, at the end."""
    before = Residue.of(platform)
    yield

    def clean() -> bool:
        now = Residue.of(platform)
        return now.sandboxes <= before.sandboxes and now.links <= before.links

    until(clean, f"{Residue.of(platform)} is back at {before}")


@pytest.fixture
def function(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Function]:
    with leaving_nothing(platform):
        made = Function(platform, f"f{abs(hash(request.node.name)):x}"[:20])
        yield made
        made.remove()


# ── the image ─────────────────────────────────────────────────────────────────────────────────────────


async def _push_private(host: str) -> str:
    name = f"{host}/private/misbehave:1"
    async with Registry(host, RegistryAuth(USER, PASSWORD)) as client:
        await push_archive(archive("misbehave"), Reference.parse(name), client)
    return name


async def _push_foreign(host: str) -> str:
    async with Registry(host) as client:
        layer = Layer.of_files([("misbehave", b"of another machine", 0o755)])
        await push_image(client, "foreign", "1", [layer], RUN, platform=Machine("s390x", "linux"))
    return f"{host}/foreign:1"


def test_an_image_that_is_not_there(platform: Platform, function: Function) -> None:
    missing = f"{platform.registry}/{function.name}:1"
    said = function.deploy("--image", missing, *SMALL, code=1)
    assert "ImageNotFound" in said
    assert f"{function.name}:1" in said
    assert "→ " in said
    assert function.refusal()[:2] == (409, "FunctionNotActive")
    assert f"has no {function.name}:1" in function.refusal()[2]
    assert b"FunctionNotActive" in platform.cli("invoke", function.name, check=False).stderr
    assert "Failed" in function.described()
    platform.cli("import", str(archive("misbehave")), f"{function.name}:1")
    function.deploy("--image", missing)
    assert function.serves()


def test_a_failed_update_of_the_image_leaves_the_old_one_serving(platform: Platform, function: Function) -> None:
    boot = function.run().boot()
    said = function.deploy("--image", f"{platform.registry}/{function.name}:1", code=1)
    assert "calls still run what was there before" in said
    assert function.boot() == boot
    shown = function.client.get_function(function.name)
    assert (shown.state, shown.last_update_status) == ("Active", "Failed")
    assert shown.last_update_status_reason_code == "ImageNotFound"


def test_a_private_image_needs_its_credentials(function: Function) -> None:
    with registry(htpasswd=True) as hub:
        name = asyncio.run(_push_private(hub.host))
        login = ("--registry-user", USER, "--registry-password-stdin")
        said = function.deploy("--image", name, *SMALL, code=1)
        assert "ImagePullDenied" in said
        assert "--registry-user" in said
        assert "ImagePullDenied" in function.deploy("--image", name, *SMALL, *login, stdin="wrong", code=1)
        function.deploy("--image", name, *SMALL, *login, stdin=PASSWORD)
        assert function.serves()
    seen = function.platform.cli("describe", function.name, "--output", "json").stdout.decode()
    assert USER in seen
    assert PASSWORD not in seen + function.platform.logs()


def test_an_image_for_another_machine(platform: Platform, function: Function) -> None:
    said = function.deploy("--image", asyncio.run(_push_foreign(platform.registry)), *SMALL, code=1)
    assert "ImagePlatformMismatch" in said
    assert "linux/s390x" in said
    assert "docker build --platform" in said


# ── the start ─────────────────────────────────────────────────────────────────────────────────────────


class Start(NamedTuple):
    words: tuple[str, ...]  # of `deploy`
    code: str
    says: str
    log: str  # what of the program's output is told, too
    mend: tuple[str, ...] = ("--env", "MISBEHAVE=exit-after=1000")


STARTS = {
    "exits": Start(told("exit=3"), "CAExited", "exited with code 3 before port 9000", "leaving as told"),
    "memory": Start(told("eat=400"), "OutOfMemory", "more than its 128 MB of memory", ""),
    "no program": Start(
        ("--entrypoint", "/nowhere"), "CAFileNotFound", "no program '/nowhere'", "", ("--entrypoint", "/misbehave")
    ),
    "initializer fails": Start(
        (*told("init=500"), "--init"), "InitializationError", "initializer answered 500", "misbehave listens"
    ),
    "initializer hangs": Start(
        (*told("init=hang"), "--init", "--init-timeout", "1"),
        "InitializationError",
        "initializer did not answer within 1 seconds",
        "misbehave listens",
    ),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS)
def test_a_program_that_cannot_be_started(function: Function, start: Start) -> None:
    said = function.run(words=start.words, code=1).said
    assert "is active but does not start" in said
    assert start.says in " ".join(said.split())
    status, code, message = function.refusal()
    assert (status, code) == (412, start.code)
    assert start.says in message
    assert start.log in message
    if code != "InitializationError":
        assert start.code.encode() in function.platform.cli("invoke", function.name, check=False).stderr
    else:
        failed = function.client.invoke(function.name)
        assert failed.error_type == "InitializationError"
        assert start.says in failed.text
    seen = function.described()
    assert "Newest failure" in seen
    assert start.says in " ".join(seen.split())
    assert start.log in seen
    until(lambda: not function.platform.instances(function.name), "nothing of it is left")
    function.deploy(*start.mend)
    assert function.serves()
    assert "Newest failure" not in function.described()


@pytest.mark.parametrize("start", [STARTS[kind] for kind in ("exits", "no program", "initializer hangs")])
def test_an_update_that_cannot_be_started_leaves_the_old_revision_serving(function: Function, start: Start) -> None:
    boot = function.run().boot()
    said = function.deploy(*start.words, code=1)
    for part in (start.code, start.says, start.log, "calls still run what was there before", "→ "):
        assert part in " ".join(said.split()), said
    assert function.boot() == boot
    seen = function.described()
    assert "update Failed" in seen
    assert start.log in seen
    function.deploy(*start.mend, *(("--no-init",) if "--init" in start.words else ()))
    assert function.serves()
    assert function.boot() != boot


# ── while it runs ─────────────────────────────────────────────────────────────────────────────────────

ENDS = {
    "/exit?code=9": ("Process exited unexpectedly before completing request", "the program exited with code 9"),
    "/crash": ("Process exited unexpectedly before completing request", "the program exited with code 1"),
    "/eat?mb=400": ("Process exited unexpectedly before completing request", "more than its 128 MB of memory"),
    "/slow?ms=30000": ("Function time out after 2 seconds", ""),
    "/reset": ("The function closed the connection before completing request", ""),
}


@pytest.mark.parametrize("path", ENDS)
def test_an_instance_that_breaks_under_a_request_is_replaced(function: Function, path: str) -> None:
    boots = [function.run(words=("--timeout", "2")).boot()]
    begins, says = ENDS[path]
    status, code, message = function.refusal(path)
    assert (status, code) == (502, "BadResponse")
    assert message.startswith(begins)
    assert says in message
    boots.append(function.boot())
    failed = function.client.invoke(function.name, path)
    assert failed.error_type == "UnhandledInvocationError"
    body = json.loads(failed.body)
    assert body["errorMessage"].startswith(begins)
    assert says in body["errorMessage"]
    boots.append(function.boot())
    assert len(set(boots)) == 3
    if says:
        assert says in " ".join(function.described().split())


def test_an_instance_that_exits_while_idle_is_not_missed(function: Function) -> None:
    boots = set()
    function.run("exit-after=1")
    for _ in range(3):
        boots.add(function.boot())
        until(lambda: not function.platform.instances(function.name), "it has ended")
    assert len(boots) == 3


def test_an_answer_whose_headers_are_too_large(function: Function) -> None:
    status, code, message = function.run().refusal("/headers?bytes=20000")
    assert (status, code) == (502, "BadResponse")
    assert "response headers exceed 8192 bytes" in message
    assert function.serves()


# ── the call ──────────────────────────────────────────────────────────────────────────────────────────


def refused(call: Callable[..., object], *given: object) -> tuple[int, str]:
    with pytest.raises(ApiError) as raised:
        call(*given)
    return raised.value.status, raised.value.code


def test_an_event_that_is_too_large(function: Function) -> None:
    function.run()
    assert refused(function.client.invoke, function.name, b"." * (33 << 20)) == (400, "EntityTooLarge")
    assert function.client.invoke(function.name, b"." * (1 << 20)).body == b"." * (1 << 20)


def test_names_that_do_not_exist(platform: Platform, function: Function) -> None:
    function.run()
    client, name = function.client, function.name
    assert refused(client.invoke, "nobody") == (404, "FunctionNotFound")
    assert refused(lambda: client.invoke(name, qualifier="7")) == (404, "VersionNotFound")
    assert refused(lambda: client.invoke(name, qualifier="prod")) == (404, "AliasNotFound")
    assert refused(client.get_function, "nobody") == (404, "FunctionNotFound")
    assert refused(client.delete_version, name, "7") == (404, "VersionNotFound")
    assert refused(client.get_alias, name, "prod") == (404, "AliasNotFound")
    assert refused(client.get_trigger, name, "other") == (404, "TriggerNotFound")
    assert platform.get("nobody").status_code == platform.get(f"prod--{name}").status_code == 404
    for words, hint in (
        (("describe", "nobody"), "sampan ls"),
        (("invoke", name, "--qualifier", "7"), f"sampan describe {name}"),
        (("alias", name, "prod", "7"), f"sampan describe {name}"),
    ):
        done = platform.cli(*words, check=False)
        assert done.returncode == 3
        assert hint in done.stderr.decode()


def test_what_is_in_use_is_not_deleted(platform: Platform, function: Function) -> None:
    client, name = function.run().client, function.name
    client.publish_version(name)
    platform.cli("alias", name, "prod", "1")
    assert refused(client.delete_version, name, "1") == (409, "VersionInUse")
    assert refused(client.delete_function, name) == (409, "FunctionNotEmpty")
    done = platform.cli("rm", name, "--yes", check=False)
    assert done.returncode == 1
    assert "alias prod" in done.stderr.decode()
    assert "--force" in done.stderr.decode()
    assert function.serves()
    platform.cli("rm", name, "--yes", "--force")
    assert refused(client.get_function, name) == (404, "FunctionNotFound")


def test_of_two_updates_at_once_one_is_refused(function: Function) -> None:
    boot = function.run().boot()
    slow = shapes.UpdateFunctionInput(environment_variables={"MISBEHAVE": "listen=4000"})
    function.client.update_function(function.name, slow)  # an instance serves: the next is made ready first
    other = shapes.UpdateFunctionInput(environment_variables={"OTHER": "1"})
    assert refused(function.client.update_function, function.name, other) == (409, "ConcurrentUpdateError")
    assert "sampan describe" in function.deploy("--timeout", "9", code=1)
    assert function.boot() == boot
    done = "Successful"
    until(lambda: function.client.get_function(function.name).last_update_status == done, "the first is through")
    assert function.boot() != boot


def test_a_function_that_was_switched_off_says_why(function: Function) -> None:
    function.run()
    function.client.disable_function(function.name, "too dear")
    status, code, message = function.refusal()
    assert (status, code) == (403, "AccessDenied")
    assert "too dear" in message
    assert refused(function.client.invoke, function.name) == (403, "AccessDenied")
    assert "too dear" in function.described()
    function.client.enable_function(function.name)
    assert function.serves()


def test_reserved_concurrency_is_a_limit(function: Function) -> None:
    function.run(words=("--timeout", "30", "--max", "0"))
    status, code, message = function.refusal()
    assert (status, code) == (429, "ResourceExhausted")
    assert "reserved concurrency (0)" in message
    function.deploy("--max", "1")
    with held(function):
        answer = function.get()
        assert (answer.status_code, answer.json()["Code"]) == (429, "ResourceExhausted")
        assert answer.headers["retry-after"]
    assert function.serves()


@contextlib.contextmanager
def held(function: Function) -> Iterator[None]:
    """A request is in the function's first instance while the `with` lasts."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        call = pool.submit(function.get, "/slow?ms=4000")
        until(lambda: _running(function), "the call has an instance")
        yield
        assert call.result().status_code == 200


def _running(function: Function) -> list[shapes.InstanceInfo]:
    return [each for each in function.client.list_instances(function.name) if each.status == "Running"]


# ── the machine ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def tight() -> Iterator[Platform]:
    """A platform with room for two small instances, and little patience."""
    state = Path(tempfile.mkdtemp(prefix="sampan-tight-"))
    with running(state, **{"scheduler.start_timeout": 3, "scheduler.memory_mb": 256}) as up:
        yield up


@pytest.fixture
def cramped(tight: Platform) -> Iterator[Callable[[str], Function]]:
    """Makes functions on the tight platform."""
    made: list[Function] = []

    def make(name: str) -> Function:
        made.append(Function(tight, name))
        return made[-1]

    with leaving_nothing(tight):
        yield make
        for function in made:
            function.remove()


def test_a_port_that_never_opens(cramped: Callable[[str], Function]) -> None:
    function = cramped("deaf").run("listen=never", code=1)
    assert "port 9000 did not accept a connection within 3 s" in function.said
    for _ in range(2):  # the second time while the next start is put off
        status, code, message = function.refusal()
        assert (status, code) == (412, "FunctionNotStarted")
        assert "port 9000 did not accept a connection within 3 s" in message
        assert "shall not listen" in message
    seen = function.described()
    assert "port_never_opened" in seen
    assert "shall not listen" in seen
    function.deploy("--env", "MISBEHAVE=listen=1")
    boot = function.boot()
    said = function.deploy("--env", "MISBEHAVE=listen=never", code=1)
    assert "FunctionNotStarted" in said
    assert "--port" in said
    assert function.boot() == boot


def test_a_machine_without_memory_says_so_and_serves_when_there_is_some(
    cramped: Callable[[str], Function],
) -> None:
    large = cramped("large").run(words=("--memory", "256", "--timeout", "30"))
    small = cramped("small").run()
    with held(large):
        answer = small.get()
        assert (answer.status_code, answer.json()["Code"]) == (503, "ResourceThrottled")
        assert "no memory left for an instance of 128 MB" in answer.json()["Message"]
        assert answer.headers["retry-after"]
        failed = small.platform.cli("invoke", "small", check=False)
        assert failed.returncode == 1
        assert b"the machine is full" in failed.stderr
    boot = small.boot()
    said = small.deploy("--memory", "512", "--cpu", "0.2", code=1)
    assert "ResourceThrottled: the machine has no room for an instance of 512 MB" in said
    assert small.boot() == boot


@pytest.fixture
def small_disk(own_state: Path) -> Iterator[Path]:
    """A directory with little room."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", str(own_state)], check=True)
    try:
        yield own_state
    finally:
        subprocess.run(["umount", "-l", str(own_state)], check=True)
        own_state.rmdir()


async def _push_large(host: str) -> str:
    """An image that fits packed, but not packed and unpacked."""
    async with Registry(host) as client:
        layer = Layer.of_files([("noise", os.urandom(40 << 20), 0o644)])
        await push_image(client, "large", "1", [layer], RUN)
    return f"{host}/large:1"


def test_a_full_disk_fails_the_pull_and_nothing_else(small_disk: Path) -> None:
    with registry() as hub, running(small_disk / "state") as platform, leaving_nothing(platform):
        function = Function(platform, "here").run()
        boot = function.boot()
        large = asyncio.run(_push_large(hub.host))
        said = function.deploy("--image", large, code=1)
        assert "DiskFull" in said
        assert "calls still run what was there before" in said
        assert function.boot() == boot
        other = Function(platform, "other")
        assert "DiskFull" in other.deploy("--image", large, *SMALL, code=1)
        until(lambda: shutil.disk_usage(small_disk).free > 30 << 20, "what was half pulled is gone")
        other.run()
        assert other.serves()
        function.deploy("--image", pushed(platform), *told("port=9000"))
        assert function.boot() != boot
        for each in (function, other):
            each.remove()

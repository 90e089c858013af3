"""The node engine keeps the contract on this machine, directly and across a socket, and leaves nothing."""

import asyncio
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sampan.engine.engine import Gone, Seen, Stream
from sampan.engine.node.netlink import Netlink
from sampan.engine.node.network import DoorPorts, door_address
from sampan.engine.remote import RemoteEngine, serve
from sampan.model.errors import FailureKind
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId
from tests.engine.contract import DEADLINE, MachineContract, fails, read_all, watching
from tests.engine.machine import MachineBench, output, settled
from tests.engine.trees import build

pytestmark = pytest.mark.root


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("image") / "web")


@pytest.fixture
def place(tree: Path, tmp_path: Path) -> Iterator[MachineBench]:
    """Where an engine may run; fails the test if anything is left at the end."""
    bench = MachineBench(tree, tmp_path, secrets.token_hex(2))
    yield bench
    assert settled(bench) == []


@pytest.fixture
async def bench(place: MachineBench) -> AsyncIterator[MachineBench]:
    async with place.node() as engine:
        place.engine = engine
        try:
            yield place
        finally:
            await engine.destroy_all()


class TestNode(MachineContract):
    pass


class TestRemoteNode(MachineContract):
    @pytest.fixture
    async def bench(self, place: MachineBench) -> AsyncIterator[MachineBench]:
        async with place.node() as engine:
            server = await serve(place.directory / "engine.sock", engine)
            remote = RemoteEngine(place.directory / "engine.sock")
            place.engine = remote
            try:
                yield place
            finally:
                remote.close()
                server.close()
                await engine.destroy_all()


class TestNodeInMemory:
    @pytest.fixture
    async def bench(self, place: MachineBench) -> AsyncIterator[MachineBench]:
        async with place.node(writable_layer="memory") as engine:
            place.engine = engine
            try:
                yield place
            finally:
                await engine.destroy_all()

    test_the_disk_is_bounded = MachineContract.test_the_disk_is_bounded


@pytest.mark.skipif(shutil.which("crun") is None, reason="crun is not installed")
class TestNodeWithCrun:
    @pytest.fixture
    async def bench(self, place: MachineBench) -> AsyncIterator[MachineBench]:
        async with place.node(runtime="crun") as engine:
            place.engine = engine
            try:
                yield place
            finally:
                await engine.destroy_all()

    test_life = MachineContract.test_a_sandbox_is_created_started_frozen_thawed_and_stopped
    test_memory = MachineContract.test_too_much_memory_is_told_apart_from_an_exit
    test_exec = MachineContract.test_exec_runs_inside_with_the_sandbox_s_environment_and_user
    test_a_missing_program_is_named = MachineContract.test_a_missing_program_is_named
    test_an_exit_before_the_port_opens = (
        MachineContract.test_an_exit_before_the_port_opens_ends_the_start_with_code_and_log
    )


# ── isolation on the network ──────────────────────────────────────────────────────────────────────────

REFUSED = {"110\n", "111\n", "113\n", "115\n"}  # timed out, refused, unreachable, still trying


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port of the host on all its addresses, that sandboxes are not meant to reach."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        yield listening


async def test_a_sandbox_reaches_no_other_sandbox_and_no_port_of_the_host(
    bench: MachineBench, listener: socket.socket
) -> None:
    one, other = await asyncio.gather(bench.ready(), bench.ready())
    port = listener.getsockname()[1]
    with closing(Netlink()) as here:
        host = here.addresses()
    assert await bench.get(one, f"/reach/{other.host}/{other.port}") in REFUSED
    for address in {entry.address for entry in host} - {"127.0.0.1"}:
        assert await bench.get(one, f"/reach/{address}/{port}") in REFUSED, address
    assert await bench.get(one, f"/reach/169.254.169.254/{80}") in REFUSED


@pytest.mark.parametrize("internet", [True, False])
async def test_a_sandbox_reaches_the_front_door(place: MachineBench, internet: bool) -> None:
    with socket.create_server(("0.0.0.0", 0)) as door:
        port = door.getsockname()[1]
        async with place.node(ports=DoorPorts((port,))) as engine:
            place.engine = engine
            ready = await place.ready(internet=internet)
            assert await place.get(ready, f"/reach/{door_address(place.realm)}/{port}") == "0\n"
            await engine.destroy_all()


async def test_only_sandboxes_with_internet_reach_the_world(place: MachineBench, tmp_path: Path) -> None:
    """The world is a namespace beyond a link of this machine."""
    with _world() as address:
        async with place.node() as engine:
            place.engine = engine
            allowed, denied = await place.ready(internet=True), await place.ready(internet=False)
            assert await place.get(allowed, f"/reach/{address}/80") == "111\n"  # it said no itself
            assert await place.get(denied, f"/reach/{address}/80") in REFUSED - {"111\n"}
            await engine.destroy_all()


class _world:
    """A network namespace with a public address, one hop away."""

    def __init__(self) -> None:
        mark = secrets.token_hex(3)
        self.name, self.link, self.address = f"w{mark}", f"w{mark}", "203.0.113.77"

    def __enter__(self) -> str:
        for command in (
            f"ip netns add {self.name}",
            f"ip link add {self.link} type veth peer name eth0 netns {self.name}",
            f"ip addr add 203.0.113.78/30 dev {self.link}",
            f"ip link set {self.link} up",
            f"ip -n {self.name} addr add {self.address}/30 dev eth0",
            f"ip -n {self.name} link set eth0 up",
            f"ip -n {self.name} link set lo up",
        ):
            output(*command.split())
        return self.address

    def __exit__(self, *_: object) -> None:
        output("ip", "link", "del", self.link)
        output("ip", "netns", "del", self.name)


async def test_two_platforms_do_not_disturb_one_another(tree: Path, tmp_path: Path) -> None:
    """Also when their realms prefer the same range of addresses."""
    one, two = MachineBench(tree, tmp_path / "one", "1005"), MachineBench(tree, tmp_path / "two", "2005")
    async with one.node() as first, two.node() as second:
        one.engine, two.engine = first, second
        here, there = await one.ready(), await two.ready()
        assert here.host.split(".")[1] != there.host.split(".")[1]
        assert await one.get(here, f"/reach/{there.host}/{there.port}") in REFUSED
        await first.destroy_all()
        assert await two.get(there, "/") == "hello\n"
        await second.destroy_all()
    assert settled(one) + settled(two) == []


# ── outliving the engine ──────────────────────────────────────────────────────────────────────────────


async def test_sandboxes_outlive_the_engine_and_are_found_again(place: MachineBench) -> None:
    async with place.node() as engine:
        place.engine = engine
        created = await engine.create(place.spec(labels={"a": "created"}))
        ready = await place.ready(labels={"a": "ready"})
        frozen = await place.ready()
        await engine.freeze(frozen.id)
        await place.say(ready, 3)
    assert await place.get(ready, "/") == "hello\n"
    async with place.node() as engine:
        place.engine = engine
        async with watching(engine) as watch:
            found = {event.sandbox.id: event.sandbox for event in watch.seen if isinstance(event, Seen)}
            assert {id_: sandbox.state for id_, sandbox in found.items()} == {
                created.id: InstanceState.CREATED,
                ready.id: InstanceState.READY,
                frozen.id: InstanceState.FROZEN,
            }
            assert found[ready.id].labels == {"a": "ready"}
            assert (await read_all(engine, ready.id)).data.startswith(b"line 000000")
            await engine.start(created.id, DEADLINE)
            assert await place.get(found[created.id], "/") == "hello\n"
            await place.exit(ready, 9)
            gone = await watch.until(Gone, ready.id)
            assert gone.failure.exit_code == 9
            await engine.destroy_all()


async def test_what_a_crash_left_is_removed(place: MachineBench) -> None:
    async with place.node() as engine:
        place.engine = engine
        ready, unknown = await place.ready(), await place.ready()
        (place.directory / "run/sandboxes" / unknown.id / "ready").unlink()
        (place.directory / "run/runtime/c-stray").mkdir()
    async with place.node() as engine:
        place.engine = engine
        await fails(engine.stats(unknown.id), FailureKind.NO_SUCH_SANDBOX)
        with pytest.raises(OSError, match=r"."):
            await place.get(unknown, "/")
        assert await place.get(ready, "/") == "hello\n"
        assert [path.name for path in (place.directory / "run/runtime").iterdir()] == [ready.id]
        await engine.destroy_all()


async def test_one_realm_has_one_engine(bench: MachineBench) -> None:
    with pytest.raises(BlockingIOError):
        await bench.node().__aenter__()


async def test_a_log_of_an_ended_sandbox_is_found_after_a_restart(place: MachineBench) -> None:
    async with place.node() as engine:
        place.engine = engine
        ready = await place.ready()
        await place.say(ready, 2)
        await engine.stop(ready.id, DEADLINE)
    async with place.node() as engine:
        chunk = await engine.logs(InstanceId(ready.id), Stream.STDOUT, 0, 1 << 16)
        assert chunk.data.startswith(b"line 000000")
        assert chunk.ended
        await engine.destroy_all()

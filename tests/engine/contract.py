"""What every Engine must do, by the promises at the top of `engine/engine.py`.

`Contract` asks nothing of the programs inside and is passed by the fake too; `MachineContract` runs real ones.
A class that inherits one of them provides the fixture `bench`.
"""

import asyncio
import signal
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec
import pytest

from sampan.engine.engine import (
    Engine,
    Gone,
    LogChunk,
    Past,
    Sandbox,
    SandboxEvent,
    SandboxSpec,
    Seen,
    Stream,
    Synced,
)
from sampan.model.errors import Failure, FailureKind, StartFailed
from sampan.model.image import Image, ImageConfig
from sampan.model.instance import InstanceState
from sampan.model.names import InstanceId, new_instance_id

DEADLINE = 30.0  # seconds for what takes milliseconds


class Bench(ABC):
    """An engine under test, and how to make things happen in its sandboxes."""

    engine: Engine
    image: Image = Image("web", "sha256:web", ImageConfig())

    def spec(self, **changes: Any) -> SandboxSpec:
        """A server that answers on port 8080."""
        spec = SandboxSpec(
            id=new_instance_id(), image=self.image, argv=("/server", "8080"), port=8080, memory_mb=64, disk_mb=32
        )
        return msgspec.structs.replace(spec, **changes)

    @abstractmethod
    def never_opens(self) -> SandboxSpec:
        """A sandbox whose port does not open by itself."""

    @abstractmethod
    async def exit(self, sandbox: Sandbox, code: int) -> None:
        """Make the program of a ready sandbox end."""

    @abstractmethod
    async def say(self, sandbox: Sandbox, lines: int) -> None:
        """Make the program of a ready sandbox write `lines` numbered lines to stdout."""

    async def ready(self, **changes: Any) -> Sandbox:
        created = await self.engine.create(self.spec(**changes))
        return await self.engine.start(created.id, timeout=DEADLINE)


class Watch:
    """Events as they come."""

    def __init__(self, events: AsyncIterator[SandboxEvent]) -> None:
        self._events = events
        self.seen: list[SandboxEvent] = []

    async def until(self, wanted: type, sandbox: InstanceId | None = None, state: object = None) -> Any:
        async with asyncio.timeout(DEADLINE):
            async for event in self._events:
                self.seen.append(event)
                if isinstance(event, wanted) and _about(event, sandbox) and state in (None, _state(event)):
                    return event
        raise AssertionError("the watch ended")


def _about(event: SandboxEvent, sandbox: InstanceId | None) -> bool:
    match event:
        case Seen(seen):
            return sandbox in (None, seen.id)
        case Gone(id_):
            return sandbox in (None, id_)
        case Synced():
            return sandbox is None


def _state(event: SandboxEvent) -> object:
    return event.sandbox.state if isinstance(event, Seen) else None


@asynccontextmanager
async def watching(engine: Engine) -> AsyncIterator[Watch]:
    async with aclosing(engine.watch()) as events:  # type: ignore[type-var]
        watch = Watch(events)
        await watch.until(Synced)
        yield watch


async def past(engine: Engine) -> dict[InstanceId, Past]:
    """What a watch that begins now tells of sandboxes that are gone."""
    found = {}
    async with aclosing(engine.watch()) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, Past):
                found[event.id] = event
            elif isinstance(event, Synced):
                break
    return found


async def fails(call: Any, kind: FailureKind) -> Failure:
    with pytest.raises(StartFailed) as raised:
        await call
    assert raised.value.failure.kind is kind, raised.value.failure
    return raised.value.failure


async def read_all(engine: Engine, sandbox: InstanceId, stream: Stream = Stream.STDOUT) -> LogChunk:
    return await engine.logs(sandbox, stream, 0, 1 << 24)


class Contract:
    """For every engine."""

    async def test_a_sandbox_is_created_started_frozen_thawed_and_stopped(self, bench: Bench) -> None:
        engine = bench.engine
        created = await engine.create(bench.spec(labels={"version": "web@1#1"}))
        assert created.state is InstanceState.CREATED
        assert [stage.name for stage in created.stages] == ["prepare", "create"]
        ready = await engine.start(created.id, timeout=DEADLINE)
        assert ready.state is InstanceState.READY
        assert [stage.name for stage in ready.stages] == ["start", "ready"]
        assert (ready.id, ready.image, ready.created) == (created.id, bench.image.digest, created.created)
        assert ready.labels == {"version": "web@1#1"}
        async with watching(engine) as watch:
            await engine.freeze(ready.id)
            await watch.until(Seen, ready.id, InstanceState.FROZEN)
            await engine.freeze(ready.id, on=False)
            await watch.until(Seen, ready.id, InstanceState.READY)
            await engine.stop(ready.id, grace=DEADLINE)
            gone = await watch.until(Gone, ready.id)
        assert gone == Gone(ready.id, None, {"version": "web@1#1"})

    async def test_stages_follow_one_another(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.spec())
        ready = await bench.engine.start(created.id, timeout=DEADLINE)
        times = [time for stage in created.stages + ready.stages for time in (stage.begin, stage.end)]
        assert times == sorted(times)

    async def test_a_watch_begins_with_what_there_is(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.spec())
        ready = await bench.ready()
        async with watching(bench.engine) as watch:
            told = {event.sandbox.id: event.sandbox.state for event in watch.seen if isinstance(event, Seen)}
        assert told[created.id] is InstanceState.CREATED
        assert told[ready.id] is InstanceState.READY

    async def test_stopping_an_unknown_sandbox_is_no_error(self, bench: Bench) -> None:
        await bench.engine.stop(new_instance_id(), grace=1)

    async def test_an_unknown_sandbox_is_named_as_such(self, bench: Bench) -> None:
        engine, unknown = bench.engine, new_instance_id()
        for call in (
            engine.start(unknown, 1),
            engine.freeze(unknown),
            engine.stats(unknown),
            engine.logs(unknown, Stream.STDOUT, 0, 1),
            engine.exec(unknown, ("/bin/true",), b"", 1),
        ):
            await fails(call, FailureKind.NO_SUCH_SANDBOX)

    async def test_one_id_is_one_sandbox(self, bench: Bench) -> None:
        spec = bench.spec()
        await bench.engine.create(spec)
        await fails(bench.engine.create(spec), FailureKind.ENGINE_FAILED)

    async def test_a_created_sandbox_cannot_be_frozen_or_entered(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.spec())
        await fails(bench.engine.freeze(created.id), FailureKind.ENGINE_FAILED)
        await fails(bench.engine.exec(created.id, ("/bin/true",), b"", 1), FailureKind.ENGINE_FAILED)

    async def test_a_created_sandbox_can_be_stopped(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.spec())
        async with watching(bench.engine) as watch:
            await bench.engine.stop(created.id, grace=DEADLINE)
            assert (await watch.until(Gone, created.id)).failure is None

    async def test_calls_for_one_id_are_carried_out_in_order(self, bench: Bench) -> None:
        engine, spec = bench.engine, bench.spec()
        async with watching(engine) as watch:
            async with asyncio.timeout(DEADLINE), asyncio.TaskGroup() as group:
                group.create_task(engine.create(spec))
                await asyncio.sleep(0)
                group.create_task(engine.start(spec.id, DEADLINE))
                await asyncio.sleep(0)
                group.create_task(engine.freeze(spec.id))
                await asyncio.sleep(0)
                group.create_task(engine.stop(spec.id, DEADLINE))
            await watch.until(Gone, spec.id)
        states = [_state(event) for event in watch.seen if _about(event, spec.id) and isinstance(event, Seen)]
        assert states == [InstanceState.CREATED, InstanceState.READY, InstanceState.FROZEN]

    async def test_many_sandboxes_are_made_and_ended_at_once(self, bench: Bench) -> None:
        ready = await asyncio.gather(*(bench.ready() for _ in range(8)))
        assert len({(sandbox.host, sandbox.port) for sandbox in ready}) == 8
        async with watching(bench.engine) as watch:
            await asyncio.gather(*(bench.engine.stop(sandbox.id, DEADLINE) for sandbox in ready))
            for sandbox in ready:
                if not any(isinstance(e, Gone) and e.id == sandbox.id for e in watch.seen):
                    await watch.until(Gone, sandbox.id)
        assert sorted(event.id for event in watch.seen if isinstance(event, Gone)) == sorted(s.id for s in ready)

    async def test_a_program_that_ends_is_gone_with_its_exit_code(self, bench: Bench) -> None:
        ready = await bench.ready()
        async with watching(bench.engine) as watch:
            await bench.exit(ready, 23)
            gone = await watch.until(Gone, ready.id)
        assert gone.failure is not None
        assert (gone.failure.kind, gone.failure.exit_code) == (FailureKind.EXITED, 23)
        await fails(bench.engine.stats(ready.id), FailureKind.NO_SUCH_SANDBOX)

    async def test_a_port_that_never_opens_fails_the_start_and_leaves_nothing(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.never_opens())
        async with watching(bench.engine) as watch:
            failure = await fails(bench.engine.start(created.id, 0.3), FailureKind.PORT_NEVER_OPENED)
            gone = await watch.until(Gone, created.id)
        assert gone.failure == failure
        await fails(bench.engine.stats(created.id), FailureKind.NO_SUCH_SANDBOX)

    async def test_a_cancelled_start_leaves_the_sandbox_stopped(self, bench: Bench) -> None:
        created = await bench.engine.create(bench.never_opens())
        async with watching(bench.engine) as watch:
            start = asyncio.create_task(bench.engine.start(created.id, DEADLINE))
            await asyncio.sleep(0.05)
            start.cancel()
            with pytest.raises(asyncio.CancelledError):
                await start
            await fails(bench.engine.stats(created.id), FailureKind.NO_SUCH_SANDBOX)
            assert (await watch.until(Gone, created.id)).failure is None

    @pytest.mark.parametrize("after", [0, 0.001, 0.005, 0.02])
    async def test_a_cancelled_create_leaves_nothing(self, bench: Bench, after: float) -> None:
        spec = bench.spec()
        create = asyncio.create_task(bench.engine.create(spec))
        await asyncio.sleep(after)
        create.cancel()
        result = await asyncio.gather(create, return_exceptions=True)
        if isinstance(result[0], asyncio.CancelledError):
            await fails(bench.engine.stats(spec.id), FailureKind.NO_SUCH_SANDBOX)
            await bench.engine.create(spec)  # the id is free again

    async def test_a_log_is_read_in_pieces_from_any_position(self, bench: Bench) -> None:
        ready = await bench.ready()
        await bench.say(ready, 100)
        whole = await read_all(bench.engine, ready.id)
        assert [int(line[5:11]) for line in whole.data.splitlines()] == list(range(100))
        pieces, position = b"", 0
        while position < whole.end:
            chunk = await bench.engine.logs(ready.id, Stream.STDOUT, position, 1000)
            assert chunk.begin == position
            pieces, position = pieces + chunk.data, chunk.end
        assert pieces == whole.data
        last = await bench.engine.logs(ready.id, Stream.STDOUT, -10, 100)
        assert (last.data, last.end) == (whole.data[-10:], whole.end)
        assert whole.marks
        assert whole.marks[-1][0] >= whole.end
        assert not whole.ended

    async def test_a_log_outlives_its_sandbox(self, bench: Bench) -> None:
        ready = await bench.ready()
        await bench.say(ready, 3)
        await bench.engine.stop(ready.id, grace=DEADLINE)
        chunk = await read_all(bench.engine, ready.id)
        assert chunk.data.startswith(b"line 000000")
        assert chunk.ended

    async def test_what_ended_is_told_as_long_as_its_log_can_be_read(self, bench: Bench) -> None:
        stays, ends = await bench.ready(labels={"of": "one"}), await bench.ready(labels={"of": "other"})
        await bench.say(ends, 3)
        assert ends.id not in await past(bench.engine)
        await bench.engine.stop(ends.id, grace=DEADLINE)
        found = await past(bench.engine)
        assert stays.id not in found
        assert found[ends.id].labels == {"of": "other"}
        marks = (await read_all(bench.engine, ends.id)).marks
        assert abs(found[ends.id].at - marks[-1][1]) < DEADLINE * 1e9

    async def test_a_log_is_bounded_and_its_positions_only_grow(self, bench: Bench) -> None:
        ready = await bench.ready(log_mb=1)
        written = 0
        for _ in range(4):
            await bench.say(ready, 6000)  # 93 bytes each
            written += 6000 * 93

        chunk = await read_all(bench.engine, ready.id)
        assert chunk.begin > 0
        assert chunk.end == written
        assert 1 << 19 < len(chunk.data) < 3 << 19
        assert chunk.data.splitlines()[-1].startswith(b"line 005999")


class MachineContract(Contract):
    """For engines whose sandboxes are real."""

    async def test_a_ready_sandbox_answers_and_a_frozen_one_does_not(self, bench: Any) -> None:
        ready = await bench.ready()
        assert await bench.get(ready, "/") == "hello\n"
        await bench.engine.freeze(ready.id)
        answer = asyncio.create_task(bench.get(ready, "/"))
        before = await bench.engine.stats(ready.id)
        done, _ = await asyncio.wait([answer], timeout=0.2)
        assert not done
        assert (await bench.engine.stats(ready.id)).cpu_ns == before.cpu_ns
        await bench.engine.freeze(ready.id, on=False)
        assert await asyncio.wait_for(answer, DEADLINE) == "hello\n"

    async def test_a_missing_program_is_named(self, bench: Any) -> None:
        failure = await fails(bench.engine.create(bench.spec(argv=("/nope",))), FailureKind.ENTRYPOINT_MISSING)
        assert "/nope" in failure.message

    async def test_an_exit_before_the_port_opens_ends_the_start_with_code_and_log(self, bench: Any) -> None:
        spec = bench.spec(argv=("/bin/sh", "-c", "echo to the log; echo and why >&2; exit 7"))
        created = await bench.engine.create(spec)
        failure = await fails(bench.engine.start(created.id, DEADLINE), FailureKind.EXITED)
        assert failure.exit_code == 7
        assert "to the log\nand why\n" in failure.log_tail

    async def test_too_much_memory_is_told_apart_from_an_exit(self, bench: Any) -> None:
        ready = await bench.ready(memory_mb=32)
        async with watching(bench.engine) as watch:
            with pytest.raises(OSError, match=r"."):
                await bench.get(ready, "/memory/128")
            gone = await watch.until(Gone, ready.id)
        assert gone.failure.kind is FailureKind.OUT_OF_MEMORY
        assert gone.failure.exit_code == 137
        assert "32 MB" in gone.failure.message

    async def test_a_killed_program_is_gone_with_code_137(self, bench: Any) -> None:
        ready = await bench.ready()
        async with watching(bench.engine) as watch:
            bench.kill(ready)
            gone = await watch.until(Gone, ready.id)
        assert (gone.failure.kind, gone.failure.exit_code) == (FailureKind.EXITED, 128 + signal.SIGKILL)

    async def test_a_program_gets_its_grace(self, bench: Any) -> None:
        ready = await bench.ready()
        await bench.engine.stop(ready.id, grace=DEADLINE)
        assert (await read_all(bench.engine, ready.id)).data == b"bye\n"

    async def test_a_frozen_program_gets_its_grace_too(self, bench: Any) -> None:
        ready = await bench.ready()
        await bench.engine.freeze(ready.id)
        await bench.engine.stop(ready.id, grace=DEADLINE)
        assert (await read_all(bench.engine, ready.id)).data == b"bye\n"

    async def test_a_program_that_ignores_the_signal_is_killed_after_the_grace(self, bench: Any) -> None:
        ready = await bench.ready(argv=("/server", "8080", "stubborn"))
        async with watching(bench.engine) as watch:
            await bench.engine.stop(ready.id, grace=0.2)
            assert (await watch.until(Gone, ready.id)).failure is None

    async def test_exec_runs_inside_with_the_sandbox_s_environment_and_user(self, bench: Any) -> None:
        ready = await bench.ready(user="web", env={"COLOUR": "blue"}, cwd="/tmp")
        script = "cat; echo $COLOUR; id -u; id -g; id -G; pwd; echo oops >&2; exit 3"
        result = await bench.engine.exec(ready.id, ("/bin/sh", "-c", script), b"given\n", DEADLINE)
        assert result.stdout == b"given\nblue\n1000\n1000\n1000 2000\n/tmp\n"
        assert (result.exit_code, result.stderr) == (3, b"oops\n")

    async def test_exec_ends_at_its_deadline(self, bench: Any) -> None:
        ready = await bench.ready()
        call = bench.engine.exec(ready.id, ("/bin/sleep", "1000"), b"", 0.3)
        await fails(call, FailureKind.ENGINE_FAILED)
        listed = await bench.engine.exec(ready.id, ("/bin/ps",), b"", DEADLINE)
        assert b"sleep" not in listed.stdout

    async def test_exec_output_is_cut_at_a_megabyte(self, bench: Any) -> None:
        ready = await bench.ready()
        script = (
            "i=0; while [ $i -lt 30000 ]; do echo 0123456789012345678901234567890123456789012345; i=$((i+1)); done"
        )
        result = await bench.engine.exec(ready.id, ("/bin/sh", "-c", script), b"", DEADLINE)
        assert (result.exit_code, len(result.stdout)) == (0, 1 << 20)

    async def test_output_to_dev_stdout_is_in_the_log(self, bench: Any) -> None:
        """Shell scripts open the device again, which must not disturb what is there."""
        spec = bench.spec(argv=("/bin/sh", "-c", "echo one; echo two >> /dev/stdout; exec /server 8080"))
        created = await bench.engine.create(spec)
        await bench.engine.start(created.id, DEADLINE)
        assert (await read_all(bench.engine, created.id)).data == b"one\ntwo\n"

    async def test_an_unprivileged_program_may_reopen_its_output_and_a_low_port(self, bench: Any) -> None:
        spec = bench.spec(user="web", argv=("/bin/sh", "-c", "echo one >> /dev/stderr; exec /server 80"), port=80)
        created = await bench.engine.create(spec)
        await bench.engine.start(created.id, DEADLINE)
        assert (await read_all(bench.engine, created.id, Stream.STDERR)).data == b"one\n"

    async def test_a_sandbox_sees_only_its_own_processes_and_name(self, bench: Any) -> None:
        ready = await bench.ready(hostname="little")
        result = await bench.engine.exec(ready.id, ("/bin/sh", "-c", "ls /proc; hostname"), b"", DEADLINE)
        words = result.stdout.decode().split()
        assert len([word for word in words if word.isdecimal()]) <= 4
        assert words[-1] == "little"

    async def test_a_sandbox_has_few_capabilities_and_a_filter(self, bench: Any) -> None:
        ready = await bench.ready()
        result = await bench.engine.exec(ready.id, ("/bin/cat", "/proc/1/status"), b"", DEADLINE)
        status = dict(line.split(":\t", 1) for line in result.stdout.decode().splitlines())
        assert status["CapEff"] == status["CapPrm"] == status["CapBnd"] == "00000000a80425fb"
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        refused = await bench.engine.exec(
            ready.id, ("/bin/sh", "-c", "mount -t tmpfs x /tmp; echo 1 > /proc/sys/kernel/panic"), b"", DEADLINE
        )
        assert refused.exit_code != 0

    async def test_an_unprivileged_program_has_no_capability(self, bench: Any) -> None:
        ready = await bench.ready(user="1000:1000")
        result = await bench.engine.exec(ready.id, ("/bin/cat", "/proc/1/status"), b"", DEADLINE)
        status = dict(line.split(":\t", 1) for line in result.stdout.decode().splitlines())
        assert {status["CapEff"], status["CapPrm"], status["CapBnd"]} == {"0" * 16}

    async def test_the_disk_is_bounded(self, bench: Any) -> None:
        ready = await bench.ready(disk_mb=16, memory_mb=128)
        assert await bench.get(ready, "/disk/8") == "0\n"
        assert await bench.get(ready, "/disk/64") == "28\n"  # ENOSPC

    async def test_the_number_of_processes_is_bounded(self, bench: Any) -> None:
        ready = await bench.ready(pids=10)
        assert 0 < int(await bench.get(ready, "/fork/50")) < 10

    async def test_an_unknown_user_is_named(self, bench: Any) -> None:
        failure = await fails(bench.engine.create(bench.spec(user="nobody-here")), FailureKind.IMAGE_INVALID)
        assert "nobody-here" in failure.message

    async def test_stats_count_what_is_used(self, bench: Any) -> None:
        ready = await bench.ready()
        await bench.get(ready, "/memory/20")
        stats = await bench.engine.stats(ready.id)
        assert stats.memory_peak >= stats.memory > 20 << 20
        assert stats.cpu_ns > 0

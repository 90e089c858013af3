"""`make soak`: a whole platform under mixed traffic, while it is deployed to and its processes are killed in turn.

python -m bench.soak [--minutes N]    exit code 1 when a request failed untold, or something was left or grew

Base line and end are taken the same way: traffic stops, everything scales to zero, the processes are looked at.
Kills end when 60 % of the time are over, so that there is time left in which the last processes may grow.
"""

import asyncio
import contextlib
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from bench.traffic import Traffic
from sampan.sdk import Client, SdkError
from sampan.wire import shapes
from tests.journeys.platform import Platform, running

RESULTS = Path(__file__).parent / "results"
VICTIMS = ("control", "sandboxd", "containerd", "registry", "gateway-1")
EVERY = 5.0
"""Seconds between two disturbances; deploys and kills take turns."""

KILLS_END = 0.6
"""Part of the time after which nothing is killed any more."""

KEPT_VERSIONS = 3
SETTLE = 60.0
"""Seconds for everything to scale to zero."""

QUIET = 3.0
"""Seconds from there until the processes are looked at."""

PROD = shapes.CreateTriggerInput(
    trigger_name="prod",
    trigger_type="http",
    qualifier="prod",
    trigger_config='{"authType": "anonymous", "methods": ["GET"]}',
)
"""What makes `prod--moving` answer."""

SETTINGS: dict[str, object] = {
    "platform.log_level": "info",
    "scheduler.freeze_delay": 0.5,
    "scheduler.keepalive": 2,
    "scheduler.spare_keep": 5,
    "gateway.idle_timeout": 30,
}


class Held(msgspec.Struct, frozen=True):
    """What one process holds."""

    pid: int
    descriptors: int
    threads: int
    rss: int  # KiB


class Allowed(msgspec.Struct, frozen=True):
    """By how much a process may have grown."""

    descriptors: int = 16
    threads: int = 8
    part: float = 0.25  # of RSS
    rss: int = 12 << 10  # KiB, besides; a Go program's heap comes and goes


def held(pid: int) -> Held:
    base = Path(f"/proc/{pid}")
    lines = dict(line.partition(":")[::2] for line in (base / "status").read_text().splitlines())
    return Held(pid, len(os.listdir(base / "fd")), int(lines["Threads"]), int(lines["VmRSS"].split()[0]))


def everyone(platform: Platform) -> dict[str, Held]:
    """The platform's processes; the supervisor is the parent of them all."""
    pids = {name: status.pid for name, status in platform.processes().items() if status.pid}
    parent = Path(f"/proc/{pids['control']}/stat").read_text().rpartition(")")[2].split()[1]
    return {name: held(pid) for name, pid in {"supervisor": int(parent), **pids}.items()}


def sandboxes(platform: Platform) -> int:
    """As the kernel counts them: spares, and instances that nobody knows of, are in it."""
    realm = f"sampan-{platform.settings.platform.realm}"
    for base in (Path("/sys/fs/cgroup/memory") / realm, Path("/sys/fs/cgroup") / realm):
        if base.exists():
            return sum(path.is_dir() for path in base.iterdir())
    return 0


class Soak:
    """One run."""

    def __init__(self, platform: Platform, out: Console) -> None:
        self.platform, self._out = platform, out
        self.traffic = Traffic(platform.settings.gateway.port, str(platform.state))
        self.disturbances: dict[str, int] = {}
        self.failures: list[str] = []  # of disturbances

    def deploy(self) -> None:
        """The functions that traffic calls."""
        image = self.platform.push("misbehave")
        plain = ("--image", image, "--public", "--cpu", "0.25")
        self.platform.cli("deploy", "steady", *plain, "--memory", "512", "--concurrency", "20", "--timeout", "60")
        self.platform.cli("deploy", "moving", *plain, "--memory", "256", "--concurrency", "10")
        self.platform.cli("deploy", "sleeper", *plain, "--memory", "256", "--idle-timeout", "1")
        self.platform.cli("deploy", "fragile", *plain, "--memory", "256", "--timeout", "1")
        self.platform.cli("publish", "moving", "--alias", "prod")
        with Client(state=self.platform.state, environment={}) as client:
            client.create_trigger("moving", PROD)

    async def go_on(self, seconds: float, kills: float) -> None:
        """Traffic and disturbances; kills only in the first `kills` seconds."""
        begun = time.monotonic()
        await self.traffic.begin()
        turn = 0
        while (left := begun + seconds - time.monotonic()) > 0:
            await asyncio.sleep(min(EVERY, left))
            if begun + seconds - time.monotonic() < EVERY:
                continue
            if turn % 2 and time.monotonic() - begun < kills:
                await self._kill(VICTIMS[turn // 2 % len(VICTIMS)])
            else:
                await self._disturb("deploy and alias shift", partial(self._release, turn))
            turn += 1
        await self.traffic.end()

    async def _kill(self, name: str) -> None:
        if name.startswith("gateway"):
            self.traffic.kills.append(time.monotonic())
        await self._disturb(f"kill -9 {name}", lambda: self.platform.kill(name))

    async def _disturb(self, what: str, act: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(act)
        except (SdkError, AssertionError, OSError) as error:
            self.failures.append(f"{time.strftime('%H:%M:%S')} {what}: {error!r}"[:400])
        self.disturbances[what] = self.disturbances.get(what, 0) + 1

    def _release(self, number: int) -> None:
        """A new state of `moving`, published; the alias means it; old versions go."""
        self.platform.change("moving", environment_variables={"GENERATION": str(number)})
        with Client(state=self.platform.state, environment={}) as client:
            version = client.publish_version("moving").version_id
            client.update_alias("moving", "prod", version)
            versions = sorted((each.version_id for each in client.list_versions("moving")), key=int)
            for old in versions[:-KEPT_VERSIONS]:
                client.delete_version("moving", old)

    async def settle(self) -> tuple[dict[str, Held], int]:
        """What is held when nothing goes on; the number of sandboxes that are left."""
        deadline = time.monotonic() + SETTLE
        while sandboxes(self.platform) and time.monotonic() < deadline:  # noqa: ASYNC110  the kernel has no event
            await asyncio.sleep(0.5)
        await asyncio.sleep(QUIET)
        return everyone(self.platform), sandboxes(self.platform)


def requests(soak: Soak) -> Table:
    made = Table("traffic", box=None)
    for name in ("good", "failed as told", "inside a killed gateway", "failed"):
        made.add_column(name, justify="right")
    for name, tally in soak.traffic.tallies.items():
        colour = "red" if tally.failures else "green"
        failed = f"[{colour}]{len(tally.failures)}[/]"
        made.add_row(name, f"{tally.good:,}", str(tally.told or ""), str(tally.inside or ""), failed)
    return made


def resources(before: dict[str, Held], after: dict[str, Held]) -> tuple[Table, list[str]]:
    """And what grew by more than is allowed."""
    made, grown, allowed = Table("process", box=None), [], Allowed()
    for name in ("descriptors", "", "threads", "", "RSS MiB", "", ""):
        made.add_column(name, justify="right")
    for name, then in before.items():
        if (now := after.get(name)) is None:
            grown.append(f"{name} is gone")
            continue
        over = [
            what
            for what, much in (
                ("descriptors", now.descriptors - then.descriptors - allowed.descriptors),
                ("threads", now.threads - then.threads - allowed.threads),
                ("RSS", now.rss - then.rss * (1 + allowed.part) - allowed.rss),
            )
            if much > 0
        ]
        grown += [f"{what} of {name} grew" for what in over]
        numbers = (then.descriptors, now.descriptors, then.threads, now.threads)
        memory = (f"{then.rss / 1024:.1f}", f"{now.rss / 1024:.1f}")
        verdict = f"[red]{', '.join(over)}[/]" if over else "[green]kept[/]"
        made.add_row(name, *map(str, numbers), *memory, verdict + (" (restarted)" if now.pid != then.pid else ""))
    return made, grown


class Kept(msgspec.Struct, frozen=True):
    """What is kept of one run."""

    at: str
    minutes: float
    requests: dict[str, dict[str, int]]
    failures: dict[str, list[str]]
    disturbances: dict[str, int]
    before: dict[str, Held]
    after: dict[str, Held]
    wrong: list[str]


async def run(soak: Soak, minutes: float, out: Console) -> Kept:
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    warm = min(60.0, minutes * 60 / 5)
    await soak.go_on(warm, 0)
    before, left_before = await soak.settle()
    out.print(f"base line taken after {warm:.0f} s; {left_before} sandboxes")
    rest = minutes * 60 - warm
    await soak.go_on(rest, rest * KILLS_END)
    after, left = await soak.settle()
    table, grown = resources(before, after)
    wrong = grown + soak.traffic.excessive()
    if left:
        wrong.append(f"{left} sandboxes are left {SETTLE:.0f} s after the last request")
    out.print("\n", requests(soak), "\n", table, "")
    tallies = soak.traffic.tallies
    failures = {name: tally.failures for name, tally in tallies.items() if tally.failures}
    if soak.failures:
        failures["disturbances"] = soak.failures
    counted = {
        name: {"good": each.good, "told": each.told, "inside": each.inside, "failed": len(each.failures)}
        for name, each in tallies.items()
    }
    return Kept(at, minutes, counted, failures, soak.disturbances, before, after, wrong)


def main(words: list[str]) -> int:
    out = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        minutes = float(words[words.index("--minutes") + 1]) if words else 10.0
    except (ValueError, IndexError):
        out.print("python -m bench.soak [--minutes N]")
        return 2
    if os.geteuid() != 0:
        out.print("[red]Making containers needs root.[/]")
        return 2
    for sign in (signal.SIGTERM, signal.SIGINT):  # everything that was started is ended
        signal.signal(sign, signal.default_int_handler)
    state = Path(tempfile.mkdtemp(prefix="sampan-soak-", dir="/var/tmp"))
    state.chmod(0o755)
    try:
        with running(state, **SETTINGS) as platform:
            soak = Soak(platform, out)
            soak.deploy()
            kept = asyncio.run(run(soak, minutes, out))
    except KeyboardInterrupt:
        out.print("interrupted; nothing is kept")
        return 130
    except (AssertionError, SdkError, OSError) as error:
        out.print(f"the platform could not be soaked: {error}", markup=False, style="red")
        return 1
    kept.wrong.extend(f"left behind: {line}" for line in platform.traces())
    RESULTS.mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        name = f"soak-{kept.at.replace(':', '')}.json"
        (RESULTS / name).write_bytes(msgspec.json.format(msgspec.json.encode(kept)))
    for what, times in kept.disturbances.items():
        out.print(f"{what}: {times} ×")
    for name, failures in kept.failures.items():
        for failure in failures[:10]:
            out.print(f"{name}: {failure}", markup=False, style="red")
        if len(failures) > 10:
            out.print(f"{name}: and {len(failures) - 10} more", style="red")
    for what in kept.wrong:
        out.print(what, markup=False, style="red")
    total = soak.traffic.summary()
    out.print(
        f"{total['good']:,} good, {total['told']} failed as told, {total['inside']} were inside a killed gateway, "
        f"{total['failed'] + len(soak.failures)} failed, {len(kept.wrong)} things grew or were left"
    )
    return 1 if kept.failures or kept.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

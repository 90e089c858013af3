"""The story that `make demo` tells: two images become functions, and what one gets from that.

Every step that a user would type is run through the command line and shown as typed; what only a program can
measure (a cold start beside a warm call, twenty calls at once, failed calls during a shift) goes through the SDK.

    python -m examples.demo [--port 9000] [--registry-port 5000] [--telemetry-port 16686]
                                       tell it; the platform is left running
    python -m examples.demo --stop     stop that platform, remove its state
"""

import argparse
import http.client
import json
import os
import shlex
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from examples import images
from sampan.sdk import Client, NotFound, Retries, SdkError

STATE = Path("/var/lib/sampan-demo")
SAMPAN = Path(sys.executable).with_name("sampan")
COMMAND_DEADLINE = 180.0
"""Seconds for one command; the slowest unpacks 50 MB."""

ANSWER_SHOWN = 48
"""Characters of a function's answer."""

KEEPALIVE = 3
"""Seconds that the demo's functions stay after their last call; 300 is the platform's default."""

out = Console(highlight=False)


class DemoFailed(Exception):
    """A step did not do what the story says; carries what was seen."""


class Demo:
    """One telling. `port`: of the front door."""

    def __init__(self, client: Client, port: int, registry_port: int) -> None:
        self._client = client
        self._port = port
        self._registry = f"localhost:{registry_port}"
        self._request = ""  # id of the newest call

    def tell(self) -> None:
        """All chapters, in order. Raises: DemoFailed, BuildFailed, SdkError."""
        self.two_images()
        cold, warm = self.first_call()
        most = self.load()
        self.back_to_zero()
        self.seen_through()
        self.release()
        calls = self.shift()
        self.what_it_said()
        self._end(cold, warm, most, calls)

    def two_images(self) -> None:
        chapter(
            "Two images", "Debian's nginx, unchanged, and a small Python web application. Neither knows Sampan."
        )
        for name, recipe in (("nginx:1", "nginx"), ("hello:v1", "hello-python"), ("hello:v2", "hello-python-v2")):
            with out.status(f"building {recipe} from Debian packages, once"):
                archive = images.archive(recipe)
            sampan("import", str(archive), name, hints=False)
        chapter("Two functions", "The port is the one the image exposes; the program is the image's own.")
        sampan("deploy", "web", "--image", f"{self._registry}/nginx:1", "--public", "--keepalive", str(KEEPALIVE))
        sampan(
            "deploy", "hello", "--image", f"{self._registry}/hello:v1", "--public", "--concurrency", "1",
            "--cpu", "0.5", "--keepalive", str(KEEPALIVE),
        )  # fmt: skip
        sampan("ls")

    def first_call(self) -> tuple[float, float]:
        """Milliseconds of the cold and of a warm call of `hello`."""
        chapter(
            "Cold and warm",
            "A deploy starts a function once, to see that it does. When that instance has ended, nothing runs; the "
            "next call starts one, and those after it find it.",
        )
        with out.status("waiting until nothing runs"):
            for name in ("web", "hello"):
                self._wait_for_none(name)
        table = Table("function", "first call", "then (median of 20)", "answer", box=None, pad_edge=False)
        times = {}
        for name in ("web", "hello"):
            first, *rest = (self._call(name) for _ in range(21))
            times[name] = first[0], statistics.median(each[0] for each in rest)
            said = rest[-1][1].strip().splitlines()
            cold, warm = (f"{value:.1f} ms" for value in times[name])
            table.add_row(name, cold, warm, escape(said[0][:ANSWER_SHOWN]))
        out.print(table)
        return times["hello"]

    def load(self) -> int:
        """How many instances served twenty calls at once."""
        chapter("Load", "Twenty slow calls at once; this function takes one call per instance at a time.")
        with ThreadPoolExecutor(20) as pool:
            answers = [
                json.loads(body) for _, body in pool.map(lambda _: self._call("hello", "/slow?ms=2500"), range(20))
            ]
        used = Counter(each["instance"] for each in answers)
        sampan("instances", "hello")
        out.print(f"20 calls answered by [bold]{len(used)}[/] instances, none refused")
        return len(used)

    def back_to_zero(self) -> None:
        chapter(
            "Scale to zero",
            f"These functions keep idle instances for {KEEPALIVE} s; then nothing runs, nothing is paid.",
        )
        with out.status("waiting"):
            taken = self._wait_for_none("hello")
        out.print(f"none left after {taken:.1f} s")
        sampan("instances", "hello")
        taken, _ = self._call("hello")
        out.print(
            f"The next call took {taken:.1f} ms: a created sandbox, its program not yet started, was at hand."
        )

    def seen_through(self) -> None:
        chapter(
            "Nothing in the dark", "That call once more, as a trace: where its time went, its cold start included."
        )
        with out.status("waiting until its trace is kept"):
            self._wait_for_trace(self._request)
        sampan("trace", self._request)

    def _wait_for_trace(self, request: str) -> None:
        """Raises: DemoFailed."""
        deadline = time.monotonic() + 20
        while not self._has_trace(request):
            if time.monotonic() > deadline:
                raise DemoFailed(f"the trace of request {request} is not there after 20 s")
            time.sleep(0.2)

    def _has_trace(self, request: str) -> bool:
        try:
            self._client.trace(request)
        except NotFound:
            return False
        return True

    def _wait_for_none(self, function: str) -> float:
        """Seconds until no instance of it was left. Raises: DemoFailed."""
        begun = time.monotonic()
        while list(self._client.list_instances(function)):
            if time.monotonic() - begun > KEEPALIVE + 30:
                raise DemoFailed(f"instances of {function} are still there")
            time.sleep(0.2)
        return time.monotonic() - begun

    def release(self) -> None:
        chapter("Versions", "A published version never changes. An alias is what callers name.")
        sampan("publish", "hello", "--alias", "prod", "--description", "the first")
        sampan("deploy", "hello", "--image", f"{self._registry}/hello:v2")
        sampan("publish", "hello", "--description", "the second")

    def shift(self) -> int:
        """How many calls the alias answered while it was moved, all of them well."""
        chapter("Shift under load", "Eight callers never pause while prod goes from version 1 to version 2.")
        with self._constant_load(8) as seen:
            time.sleep(1)
            for share in ("0.1", "0.5"):
                sampan("alias", "hello", "prod", "1", "--weight", f"2={share}")
                before = Counter(seen)
                time.sleep(2)
                self._show_shares(Counter(seen) - before)
            sampan("alias", "hello", "prod", "2")
            time.sleep(0.5)
            before = Counter(seen)
            time.sleep(1.5)
            self._show_shares(Counter(seen) - before)
        failed = {what: number for what, number in seen.items() if not what.startswith("v")}
        total = sum(seen.values())
        if failed:
            raise DemoFailed(f"of {total} calls during the shift these failed: {failed}")
        out.print(f"[bold green]{total} calls, 0 failed[/]")
        return total

    def what_it_said(self) -> None:
        chapter(
            "Logs and the bill", "What each instance wrote, for which call; and what all of it would have cost."
        )
        sampan("invoke", "hello", "--data", "an event", "--log")
        time.sleep(1.5)  # output is gathered once a second
        sampan("logs", "hello", "--tail", "6")
        sampan("bill")

    def _call(self, name: str, path: str = "/") -> tuple[float, str]:
        """Milliseconds and body of one call of the function's public URL. Raises: DemoFailed."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        begun = time.perf_counter()
        try:
            connection.request("GET", path, headers={"Host": f"{name}.localhost:{self._port}"})
            response = connection.getresponse()
            body = response.read().decode(errors="replace")
            self._request = response.getheader("X-Fc-Request-Id", "")
        except (OSError, http.client.HTTPException) as error:
            raise DemoFailed(f"calling {name}{path}: {error}") from error
        finally:
            connection.close()
        if response.status != 200:
            raise DemoFailed(f"{name}{path} answered {response.status}: {body[:500]}")
        return (time.perf_counter() - begun) * 1000, body

    @contextmanager
    def _constant_load(self, callers: int) -> Iterator[Counter[str]]:
        """Callers of hello's alias prod without a pause. Yields the count of each version, status or error seen."""
        seen: Counter[str] = Counter()
        counting, stop = threading.Lock(), threading.Event()

        def keep_calling() -> None:
            while not stop.is_set():
                try:
                    reply = self._client.http("hello", qualifier="prod")
                    what = json.loads(reply.body)["version"] if reply.status == 200 else f"status {reply.status}"
                except (SdkError, ValueError, KeyError) as error:
                    what = f"{type(error).__name__}: {error}"[:200]
                with counting:
                    seen[what] += 1

        threads = [threading.Thread(target=keep_calling, daemon=True) for _ in range(callers)]
        for thread in threads:
            thread.start()
        try:
            yield seen
        finally:
            stop.set()
            for thread in threads:
                thread.join(timeout=60)

    def _show_shares(self, seen: Counter[str]) -> None:
        total = sum(seen.values()) or 1
        shares = "   ".join(f"{what} {number / total:.0%}" for what, number in sorted(seen.items()))
        out.print(f"  {total} calls: {escape(shares)}", style="cyan")

    def _end(self, cold: float, warm: float, most: int, calls: int) -> None:
        state = f"--state {STATE}"
        lines = (
            f"A cold start of Python took [bold]{cold:.0f} ms[/], a warm call [bold]{warm:.1f} ms[/].",
            f"Twenty calls ran on {most} instances, and then on none.",
            f"{calls} calls went through the release of a new version, 0 failed.",
            "",
            f"  curl http://web.localhost:{self._port}/",
            f"  curl 'http://hello.localhost:{self._port}/slow?ms=500'",
            f"  {SAMPAN_SHOWN} {state} status",
            f"  {SAMPAN_SHOWN} {state} top",
            f"  {SAMPAN_SHOWN} {state} traces",
            f"  {SAMPAN_SHOWN} {state} describe hello",
            f"  {SAMPAN_SHOWN} {state} rollback hello --alias prod",
            "",
            "Your own image, from docker, podman, skopeo or buildah:",
            f"  docker push {self._registry}/mine:1",
            f"  {SAMPAN_SHOWN} {state} deploy mine --image {self._registry}/mine:1 --public",
            "",
            "It goes on running. Stop it and remove all it made:  [bold]make stop-demo[/]",
        )
        out.print(Panel("\n".join(lines), title="That was Sampan", border_style="green", expand=False))


SAMPAN_SHOWN = ".venv/bin/sampan"


def chapter(title: str, what: str) -> None:
    out.print(f"\n[bold cyan]{title}[/]  {what}")


def sampan(*arguments: str, shown: bool = True, hints: bool = True) -> None:
    """Runs the command line as a user would. hints: what it says besides its results. Raises: DemoFailed."""
    if shown:
        out.print(f"[bold]$ sampan {escape(shlex.join(arguments))}[/]", soft_wrap=True)
    width = {"COLUMNS": str(out.width), **({"FORCE_COLOR": "1"} if out.is_terminal else {})}
    try:
        subprocess.run(
            [str(SAMPAN), "--state", str(STATE), *arguments],
            check=True, timeout=COMMAND_DEADLINE, stdin=subprocess.DEVNULL, env={**os.environ, **width},
            stderr=None if hints else subprocess.PIPE, text=True,
        )  # fmt: skip
    except subprocess.CalledProcessError as error:
        said = f": {error.stderr}" if error.stderr else ""
        raise DemoFailed(f"`sampan {shlex.join(arguments)}` ended with {error.returncode}{said}") from error
    except (subprocess.TimeoutExpired, OSError) as error:
        raise DemoFailed(f"`sampan {shlex.join(arguments)}`: {error}") from error


def begin(port: int, registry_port: int, telemetry_port: int) -> None:
    """A platform with nothing in it, on these ports. Raises: DemoFailed."""
    stop()
    options = {"--port": port, "--registry-port": registry_port, "--telemetry-port": telemetry_port}
    for option, number in options.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", number))
            except OSError as error:
                raise DemoFailed(
                    f"port {number} is taken by another program (`ss -ltnp 'sport = :{number}'` names it); "
                    f'end it, or choose another port: make demo DEMO="{option} {number + 100}"'
                ) from error
    chapter("The platform", "One command, one machine.")
    began = time.monotonic()
    out.print(f"[bold]$ sampan up --detach --state {STATE}[/]")
    ports = ("--port", str(port), "--registry-port", str(registry_port))
    sampan("up", "--detach", *ports, "--set", f"telemetry.port={telemetry_port}", shown=False)
    out.print(
        f"up after {time.monotonic() - began:.1f} s: http://localhost:{port}, images at localhost:{registry_port}"
    )


def stop() -> None:
    """Ends the platform of an earlier demo and removes its state. Raises: DemoFailed."""
    if STATE.exists():
        sampan("down", shown=False)
        shutil.rmtree(STATE)


def arguments(given: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description="Show what Sampan does, on this machine.")
    parser.add_argument("--port", type=int, default=9000, help="of the front door (9000)")
    parser.add_argument("--registry-port", type=int, default=5000, help="of the registry (5000)")
    parser.add_argument(
        "--telemetry-port", type=int, default=16686, help="of Jaeger's query API and /metrics (16686)"
    )
    parser.add_argument("--stop", action="store_true", help="stop the demo's platform and remove its state")
    return parser.parse_args(given)


def main(given: list[str]) -> int:
    asked = arguments(given)
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            out.print("[red]The demo makes containers, and that needs root.[/]")
            return 1
        os.execvp("sudo", ["sudo", sys.executable, "-m", "examples.demo", *given])
    try:
        if asked.stop:
            stop()
            out.print("The demo's platform is stopped and its state removed.")
            return 0
        begin(asked.port, asked.registry_port, asked.telemetry_port)
        # A call that failed is a call that failed: what a retry would hide is what this demo counts.
        with Client(state=STATE, environment={}, retries=Retries(attempts=1)) as client:
            Demo(client, asked.port, asked.registry_port).tell()
    except (DemoFailed, images.BuildFailed, SdkError) as error:
        out.print(f"\n[bold red]The demo stopped:[/] {escape(str(error))}")
        out.print(f"The platform, if it came up, is still there; its logs are in {STATE}/logs.")
        return 1
    except KeyboardInterrupt:
        out.print("\nInterrupted. The platform is still running; `make stop-demo` ends it.")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

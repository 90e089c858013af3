"""A control and a collector that do the least: one public function, whose instances are all the same backend.

python -m bench.gateway.control SETTINGS-FILE BACKEND-PORT INSTANCES SLOTS

It speaks over the real link, so that the gateways do all that they do in production: they are told routes, hold
leases, frame every request in the instances' logs, and report every invocation until it is confirmed.
"""

import asyncio
import itertools
import os
import signal
import sys
from pathlib import Path

import msgspec

from sampan.link import channel, reports
from sampan.link.messages import Down, FunctionRoute, GiveBack, Grant, Hello, Routes, ServedVersion, Up
from sampan.link.reports import Kept
from sampan.model.names import LATEST, InstanceId, version_key
from sampan.model.trigger import AuthType, HttpTrigger
from sampan.serve import role
from sampan.serve.layout import Layout
from sampan.settings import Settings

KEY = version_key("web", LATEST, 1)
METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "PATCH", "OPTIONS")
FREEZE_DELAY = 3600.0
"""Seconds; leases go back when idle, and nothing here would grant them anew but this control."""

LOG_KEPT = 8 << 20
"""Bytes of an instance's log; sandboxd bounds logs too."""


Reported = reports.Hello | reports.EncodedRecords | reports.Started | reports.Gauges


class Staged:
    """Answers gateways."""

    def __init__(self, layout: Layout, backend: int, instances: int, slots: int) -> None:
        self._logs, self._backend = layout.control_run, backend
        self._instances, self._slots = instances, slots
        self._numbers = itertools.count(1)
        self._files: list[Path] = []

    def hear(self, one: "channel.Channel[Up, Down]", message: Up) -> None:
        match message:
            case Hello():
                one.send(self._routes())
                for _ in range(self._instances):
                    one.send(self._grant(InstanceId(f"c-{next(self._numbers):024x}")))
            case GiveBack(instance):
                one.send(self._grant(instance))

    def keep(self, one: "channel.Channel[Reported, Kept]", message: "Reported") -> None:
        """Confirm at once: what a collector does with records is not the gateway's cost."""
        if isinstance(message, reports.EncodedRecords):
            told = bytes(message.entries)
            one.send(Kept(message.seq + int.from_bytes(told[1:5], "big") // 2 - 1))

    async def bound_logs(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(1)
            for file in self._files:
                if file.stat().st_size > LOG_KEPT:
                    os.truncate(file, 0)

    def _routes(self) -> Routes:
        version = ServedVersion(KEY, "web", LATEST, self._slots, 60.0, 512, "index.handler", FREEZE_DELAY, 60.0)
        trigger = HttpTrigger("http", LATEST, METHODS, AuthType.ANONYMOUS, False)
        weights = ((1.0, KEY),)
        web = FunctionRoute("web", "Active", "", None, None, (version,), {LATEST: weights}, (trigger,))
        return Routes("1000000000000000", "local", (web,), ())

    def _grant(self, instance: InstanceId) -> Grant:
        log = self._logs / f"{instance}.log"
        log.touch()
        self._files.append(log)
        return Grant(instance, KEY, "127.0.0.1", self._backend, self._slots, log_path=str(log))


def main(file: str, *numbers: str) -> None:
    settings = msgspec.json.decode(Path(file).read_bytes(), type=Settings)
    role.become("control", settings, unprivileged=True)
    layout = Layout(settings)
    staged = Staged(layout, *map(int, numbers))

    async def work(asked: "asyncio.Future[signal.Signals]") -> None:
        decoder = msgspec.msgpack.Decoder(Up)
        server = await channel.serve(
            layout.link_socket, lambda: channel.Channel(decoder, staged.hear, lambda _: None)
        )
        reported = msgspec.msgpack.Decoder(Reported)
        collector = await channel.serve(
            layout.reports_socket, lambda: channel.Channel(reported, staged.keep, lambda _: None)
        )
        bounding = asyncio.get_running_loop().create_task(staged.bound_logs())
        await asked
        bounding.cancel()
        server.close()
        collector.close()

    role.run(work)


if __name__ == "__main__":
    main(*sys.argv[1:])

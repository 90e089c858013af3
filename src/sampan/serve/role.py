"""What every process of ours does around its work: privileges, readiness, its signals, its event loop."""

import asyncio
import gc
import importlib
import os
import pkgutil
import signal
import warnings
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import uvloop

from sampan.serve.privileges import die_with_parent, drop, ensure_user
from sampan.settings import Settings
from sampan.telemetry.logs import configure

YOUNG = 10_000
"""Objects more than at the last search for garbage, until the next one; Python's own is 700."""


def become(name: str, settings: Settings, unprivileged: bool, late: Iterable[str] = ()) -> None:
    """Set up the log, give up root where it is not needed, and never outlive the supervisor.

    late: modules that libraries import when they are used. The installation may lie where only root may look (a
    checkout in a home directory), so everything is imported before root is given up; a role's own modules are,
    since nothing of ours imports inside a function there.
    """
    configure(name, settings.platform.log_level, settings.platform.log_format)
    if unprivileged and os.geteuid() == 0:
        for module in ("encodings.idna", *late):
            _import(module)
        drop(*ensure_user(settings.platform.user))
    die_with_parent(int(os.environ.get("SUPERVISOR_PID", os.getppid())))


def _import(name: str) -> None:
    """Import a module; `package.*`: all that is in it, but what needs something that is not installed."""
    package = importlib.import_module(name.removesuffix(".*"))
    if name.endswith(".*"):
        with warnings.catch_warnings(action="ignore"):  # of parts that nobody uses
            for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".", onerror=lambda _: None):
                with suppress(ImportError):
                    importlib.import_module(module.name)


def ready() -> None:
    """Tell the supervisor that this process does its work."""
    if (fd := os.environ.get("READY_FD")) is not None:
        with suppress(OSError):
            os.write(int(fd), b"1")
            os.close(int(fd))


def settle() -> None:
    """What there is now stays: the search for garbage leaves it out, and is made less often.

    A gateway that works at 64 requests at once made so many objects in each turn that every turn was followed by a
    search; those of all objects, 40 ms each, were seen in the slowest requests. A collector spent a quarter of its
    time on them while it wrote traces.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG)


Work = Callable[[asyncio.Future[signal.Signals]], Awaitable[None]]
"""A role's work: begins, and ends in good order once the future holds the signal that asks for it."""


def run(work: Work, signals: tuple[signal.Signals, ...] = (signal.SIGTERM, signal.SIGINT)) -> None:
    """Run a role's work on uvloop until one of `signals` comes."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked: asyncio.Future[signal.Signals] = loop.create_future()

        def ask(sign: signal.Signals) -> None:
            if not asked.done():
                asked.set_result(sign)

        for sign in signals:
            loop.add_signal_handler(sign, ask, sign)
        await work(asked)

    uvloop.run(main())

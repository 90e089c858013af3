"""For all tests."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from sampan.serve import compiled

if os.environ.get("SAMPAN_COMPILED") == "1" and not compiled.use():  # else tests see the sources
    pytest.exit("SAMPAN_COMPILED=1, but there is no compiled hot path; run `make compile`", returncode=2)

# A script's background has SIGINT ignored, and so have all children: what a test ends by Ctrl-C would never end.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's matter: a busy one must not fail a test.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


MACHINE = ("engine", "journeys")  # folders of tests that make real sandboxes: one after the other


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of tests that run side by side, those of a file share a process, and those that share the machine do."""
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group("machine" if folder in MACHINE else str(item.path)))


@pytest.fixture(scope="session", autouse=True)
def _a_loop_that_is_closed() -> Iterator[None]:
    """pytest-asyncio asks for the current loop before it sets its own; Python 3.11 then makes one nobody closes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()

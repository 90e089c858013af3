"""One platform serves all journeys that do not break it; those that do bring their own (`running`)."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.sdk import Client
from tests.journeys.platform import Platform, running


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    with running(Path(tempfile.mkdtemp(prefix="sampan-journeys-"))) as up:
        yield up


@pytest.fixture(scope="module")
def client(platform: Platform) -> Iterator[Client]:
    """Of the module's platform, where it has one of its own."""
    with platform.client() as made:
        yield made


@pytest.fixture
def own_state() -> Path:
    """A short directory for a platform of a test's own; Unix sockets need short paths."""
    return Path(tempfile.mkdtemp(prefix="sampan-own-"))

import pytest

from tests.api.serving import served


class Clock:
    """Unix seconds that a test may move."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def api(tmp_path, clock):
    with served(tmp_path, clock) as running:
        yield running

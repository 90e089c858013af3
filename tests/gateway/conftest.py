"""A gateway on loopback between a scripted control, scripted functions and raw clients."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from tests.gateway.stage import Stage

MakeStage = Callable[..., Awaitable[Stage]]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves in production; where a test plays with time, the one that can."""
    if item.get_closest_marker("looptime"):
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[MakeStage]:
    """Makes a stage; settings of the gateway by keyword."""
    made: list[Stage] = []

    async def make(**settings: object) -> Stage:
        one = Stage(tmp_path, **settings)
        made.append(one)
        await one.start()
        return one

    yield make
    for one in made:
        await one.stop()

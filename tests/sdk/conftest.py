import asyncio
from collections.abc import Iterator

import pytest

from sampan.sdk import Client
from tests.sdk.loopback import KEY, Loopback, loopback

# Without this the first async test finds no loop set, Python 3.11 makes one for it, and nobody closes that.
asyncio.set_event_loop(None)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback() as running:
        yield running


@pytest.fixture
def client(server: Loopback) -> Iterator[Client]:
    with Client(server.url, KEY.id, KEY.secret, environment={}) as made:
        yield made

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sampan.cli.app import app
from tests.sdk.loopback import KEY, Loopback, loopback

# Without this the first async test finds no loop set, Python 3.11 makes one for it, and nobody closes that.
asyncio.set_event_loop(None)

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with loopback() as running:
        yield running


@pytest.fixture
def environment(server: Loopback, tmp_path: Path) -> dict[str, str]:
    return {
        "SAMPAN_ENDPOINT": server.url,
        "SAMPAN_ACCESS_KEY_ID": KEY.id,
        "SAMPAN_ACCESS_KEY_SECRET": KEY.secret,
        "SAMPAN_STATE": str(tmp_path / "state"),
        "SAMPAN_REGISTRY": "",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "120",
    }


@pytest.fixture
def sampan(environment: dict[str, str]) -> Run:
    """Runs the command; every error of it is an exit code, never a traceback."""

    def run(*arguments: str, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=input, env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run

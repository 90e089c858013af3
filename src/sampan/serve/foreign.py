"""The two programs that are not ours: how they are configured and started, and when they are ready."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from sampan.engine.node.containerd import daemon_config
from sampan.serve.layout import Layout
from sampan.settings import Registry


def registry_config(root: Path, settings: Registry) -> str:
    """CNCF Distribution's configuration; it reads YAML, of which JSON is a part."""
    return json.dumps(
        {
            "version": 0.1,
            "log": {"level": "warn", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}},
            "http": {"addr": f"{settings.listen}:{settings.port}"},
        },
        indent=1,
    )


def write_configs(layout: Layout, registry: Registry) -> None:
    layout.containerd_config.write_text(
        daemon_config(layout.containerd_root, layout.containerd_state, layout.containerd_socket)
    )
    layout.registry_config.write_text(registry_config(layout.registry_root, registry))
    layout.registry_config.chmod(0o644)


def accepts(connect: Callable[[], Awaitable[tuple[object, asyncio.StreamWriter]]]) -> Callable[[], Awaitable[bool]]:
    """A check that is true once a connection is accepted."""

    async def check() -> bool:
        try:
            _, writer = await connect()
        except OSError:
            return False
        writer.close()
        return True

    return check


def socket_accepts(path: Path) -> Callable[[], Awaitable[bool]]:
    return accepts(lambda: asyncio.open_unix_connection(str(path)))


def port_accepts(host: str, port: int) -> Callable[[], Awaitable[bool]]:
    return accepts(lambda: asyncio.open_connection(host, port))

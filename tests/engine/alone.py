"""A node engine in a process of its own, as `sandboxd` runs it.

Arguments: its directory, the tree of the one image, the realm.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from sampan.engine.remote import serve
from tests.engine.machine import MachineBench


async def main(directory: Path, tree: Path, realm: str) -> None:
    async with MachineBench(tree, directory, realm).node() as engine:
        server = await serve(directory / "engine.sock", engine)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            server.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))

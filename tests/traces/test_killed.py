"""A collector that is killed while it writes leaves whole traces behind."""

import asyncio
import subprocess
import sys
from pathlib import Path

from sampan.store.database import Database, migrate, sqlite_url
from sampan.traces.query import Query
from sampan.traces.store import TraceStore
from tests.traces.samples import cold

WRITER = """
import asyncio, itertools, sys
from pathlib import Path
from sampan.store.database import Database, sqlite_url
from sampan.traces.store import TraceStore
from tests.traces.samples import cold

async def main():
    store = TraceStore(Database(sqlite_url(Path(sys.argv[1]))), 1e9, 1000)
    for number in itertools.count():
        spans = [each for at in range(10) for each in cold(f"{number * 10 + at + 1:032x}", f"1-{number}-{at}")]
        for part in (spans[::2], spans[1::2]):
            store.add(part)
            await store.flush()
        print(number, flush=True)

asyncio.run(main())
"""


async def test_what_was_written_before_a_kill_is_whole_and_the_store_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "db" / "telemetry.db"
    migrate(sqlite_url(file), "telemetry")
    written = await asyncio.to_thread(_write_until_killed, file)
    database = Database(sqlite_url(file))
    store = TraceStore(database, 1e9, 1000)
    found = (await store.search(Query(limit=1500))).traces
    assert len(found) >= 10 * (written + 1)
    for summary in found:
        spans = await store.trace(summary.trace)
        assert spans is not None
        assert len(spans) == summary.spans
    store.add(cold(found[0].trace, found[0].request))
    await store.flush()
    assert (await store.search(Query(request=found[0].request))).traces[0].spans == 116
    await database.close()


def _write_until_killed(file: Path) -> int:
    """How many rounds were written before the writer was killed in the midst of another."""
    with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) == 3:
                break
        writer.kill()
        rest = writer.stdout.read().split()
    return int(rest[-1]) if rest else 3

"""Gives room of a database's file that nothing uses back to the file system, a little at a time.

What is deleted leaves pages in the file that new rows use again. So some of them stay: a file whose rows come and
go as they always did keeps its size. What is beyond that goes, in transactions so short that writers hardly wait.
"""

import asyncio

from sampan.store.database import Database
from sampan.telemetry.logs import Log

EVERY = 30.0  # seconds between two looks
STEP = 64  # pages in one transaction: 6 to 10 ms, measured on one shared core with the pages of a 200 MB file
PAUSE = 0.1  # seconds between two transactions, so that a GB takes some ten minutes and a tenth of a core
LEAST = 4096  # unused pages that stay in any case: 16 MiB
SHARE = 4  # one unused page stays for so many used ones

log = Log("database")


async def shrink(database: Database) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(EVERY)
        try:
            await once(database)
        except Exception as error:  # a full disk, a locked file
            log.failure("room that is not used could not be given back; trying again", error)


async def once(database: Database) -> None:
    """Give back all that is too much now."""
    pages, unused = await database.pages()
    while (more := surplus(pages, unused)) > 0:
        await database.give_back(min(STEP, more))
        before, (pages, unused) = unused, await database.pages()
        if unused >= before:  # rows are deleted as fast, or the file was not made for it
            break
        await asyncio.sleep(PAUSE)


def surplus(pages: int, unused: int) -> int:
    """How many of a file's unused pages are too many; below zero: there may be more. pages: used or not."""
    return unused - max(LEAST, (pages - unused) // SHARE)

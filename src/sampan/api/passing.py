"""Questions about telemetry, passed on to the collector and its answers back, both as they are."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from sampan.api.call import Call, Passed
from sampan.link.reports import THERE
from sampan.model.errors import CollectorAway, FunctionNotFound

ANSWER = 60.0  # seconds until an answer begins; a search over all that is kept takes some
LOOK = 1.0  # seconds between two looks, while an answer has not begun, whether the collector answers at all
PATIENCE = 2.0  # seconds it may take to answer that: one that hangs is told of soon
_PASSED = ("content-type", "cache-control", "vary")
_ASCII = "".join(map(chr, range(128)))


class Collector:
    """The collector's HTTP side, over its Unix socket."""

    def __init__(self, socket: Path) -> None:
        timeout = aiohttp.ClientTimeout(total=None, connect=2.0, sock_read=ANSWER)
        connector = aiohttp.UnixConnector(str(socket), limit=256)
        self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)

    async def ask(self, target: str, accept: str, there: bool = False) -> Passed:
        """target: path and query, as signed.  there: the function it is about exists. Raises: CollectorAway."""
        url = URL(f"http://collector{quote(target, _ASCII, 'latin-1')}", encoded=True)  # nothing is written anew
        try:
            told = {"accept": accept or "*/*", "accept-encoding": "identity"} | ({THERE: "yes"} if there else {})
            answer = await self._answer(self._session.get(url, headers=told, allow_redirects=False))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise CollectorAway from error
        headers = {name: answer.headers[name] for name in _PASSED if name in answer.headers}
        return Passed(answer.status, headers, _body(answer))

    async def _answer(self, asked: Awaitable[aiohttp.ClientResponse]) -> aiohttp.ClientResponse:
        """Raises: as `asked` does, and TimeoutError: the collector answers nothing."""
        asking = asyncio.ensure_future(asked)
        asking.add_done_callback(_seen)
        try:
            while not (await asyncio.wait((asking,), timeout=LOOK))[0]:
                async with asyncio.timeout(PATIENCE), self._session.head("http://collector/"):
                    pass
        except BaseException:  # who asks has left, or is told: an answer that comes all the same is nobody's
            if not asking.cancel() and asking.exception() is None:
                asking.result().close()
            raise
        return asking.result()

    async def aclose(self) -> None:
        await self._session.close()


def _seen(asking: "asyncio.Future[aiohttp.ClientResponse]") -> None:
    if not asking.cancelled():
        asking.exception()


async def _body(answer: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """As it comes. Raises: CollectorAway, where it breaks off."""
    try:
        async for piece in answer.content.iter_any():
            yield piece
    except (aiohttp.ClientError, OSError) as error:
        raise CollectorAway from error
    finally:
        answer.close()


async def ask(call: Call) -> Passed:
    """Whatever is asked of it, without our prefix."""
    return await call.platform.collector.ask(call.target, call.accept)


async def logs(call: Call) -> Passed:
    """A function's output, which outlives it; of one that was made just now the collector may not have heard.

    Raises: CollectorAway, FunctionNotFound.
    """
    try:
        await call.catalog.functions.get(call.function)
        missing = None
    except FunctionNotFound as error:
        missing = error
    try:
        return await call.platform.collector.ask(call.target, call.accept, there=missing is None)
    except CollectorAway as away:
        raise (missing or away) from None

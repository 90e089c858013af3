"""Client methods from one text: each is a description of a call, and becomes a blocking method on `Client` and an
awaitable one on `AsyncClient`, with the same parameters and the same result."""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

import msgspec

from sampan.sdk.exchange import Call
from sampan.sdk.senders import Awaiting, Blocking

P = ParamSpec("P")
T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing; `token` asks for the next and is empty on the last."""

    items: tuple[T, ...]
    token: str


class Lines(msgspec.Struct, Generic[T], frozen=True):
    """A call whose answer is read line by line, as it comes."""

    call: Call[object]
    decode: Callable[[str], T]


class Method(Generic[P, T]):
    """One call, one result."""

    def __init__(self, describe: Callable[P, Call[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> "Method[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.send(self._describe(*args, **kwargs))

        return method


class Listing(Generic[P, T]):
    """All items of a listing, page after page, asked for as they are used."""

    def __init__(self, describe: Callable[Concatenate[str, P], Call[Page[T]]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> "Listing[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            def describe(token: str) -> Call[Page[T]]:
                return self._describe(token, *args, **kwargs)

            return _pages(client, describe) if isinstance(client, Blocking) else _async_pages(client, describe)

        shown = inspect.signature(self._describe)
        method.__dict__["__signature__"] = shown.replace(parameters=list(shown.parameters.values())[1:])
        return method


class Feed(Generic[P, T]):
    """Items that come one by one over a kept connection."""

    def __init__(self, describe: Callable[P, Lines[T]]) -> None:
        self._describe = describe

    @overload
    def __get__(self, client: None, owner: type) -> "Feed[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Iterator[T]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncIterator[T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self

        @functools.wraps(self._describe)
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            lines = self._describe(*args, **kwargs)
            return _items(client, lines) if isinstance(client, Blocking) else _async_items(client, lines)

        return method


def _pages(client: Blocking, describe: Callable[[str], Call[Page[T]]]) -> Iterator[T]:
    token = ""
    while True:
        page = client.send(describe(token))
        yield from page.items
        if not page.token:
            return
        token = page.token


async def _async_pages(client: Awaiting, describe: Callable[[str], Call[Page[T]]]) -> AsyncIterator[T]:
    token = ""
    while True:
        page = await client.send(describe(token))
        for item in page.items:
            yield item
        if not page.token:
            return
        token = page.token


def _items(client: Blocking, lines: Lines[T]) -> Iterator[T]:
    for line in client.lines(lines.call):
        if line:  # an empty line only says that the other end is alive
            yield lines.decode(line)


async def _async_items(client: Awaiting, lines: Lines[T]) -> AsyncIterator[T]:
    async for line in client.lines(lines.call):
        if line:
            yield lines.decode(line)

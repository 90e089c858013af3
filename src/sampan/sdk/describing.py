"""How an operation becomes a `Call`: its place on the wire, its body, and what its answer is read as. Pure."""

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from sampan.sdk.errors import InvalidCall, UnexpectedAnswer
from sampan.sdk.exchange import Call, Reply
from sampan.sdk.methods import Page
from sampan.wire import shapes
from sampan.wire.operations import OPERATIONS, PREFIX

T = TypeVar("T")
S = TypeVar("S")
JSON = {"content-type": "application/json; charset=utf-8"}
BY_NAME = {operation.name: operation for operation in OPERATIONS}


class _Listed(Protocol):
    @property
    def next_token(self) -> str | None: ...


L = TypeVar("L", bound=_Listed)


class At(NamedTuple):
    """Where a call goes."""

    action: str
    method: str
    target: str


def at(action: str, *segments: str, **query: str | int | None) -> At:
    """The place of operation `action`, its path parameters filled in order, its query without what is absent."""
    operation, given = BY_NAME[action], iter(segments)
    path = "/".join(segment(next(given)) if part.startswith("{") else part for part in operation.path.split("/"))
    asked = {name: str(value) for name, value in query.items() if value not in (None, "")}
    return At(action, operation.method, PREFIX + path + (f"?{urlencode(asked, quote_via=quote)}" if asked else ""))


def segment(text: str) -> str:
    """One path segment; a slash in it stays in it. Raises: InvalidCall: of nothing, which would be another path."""
    if not text:
        raise InvalidCall("a name or an id is empty; is a variable of the shell not set?")
    return quote(text, safe="~")


def call(where: At, decode: Callable[[Reply], T], body: shapes.Shape | None = None) -> Call[T]:
    return Call(
        action=where.action,
        method=where.method,
        target=where.target,
        decode=decode,
        body=b"" if body is None else shapes.write(body),
        headers={} if body is None else JSON,
    )


def returns(where: At, shape: type[S], body: shapes.Shape | None = None) -> Call[S]:
    return call(where, lambda reply: read(reply, shape), body)


def returns_nothing(where: At, body: shapes.Shape | None = None) -> Call[None]:
    return call(where, lambda reply: None, body)


def returns_page(where: At, shape: type[L], items: Callable[[L], tuple[T, ...]]) -> Call[Page[T]]:
    def decode(reply: Reply) -> Page[T]:
        page = read(reply, shape)
        return Page(items(page), page.next_token or "")

    return call(where, decode)


def read(reply: Reply, shape: type[S]) -> S:
    """The body as `shape`. Raises: UnexpectedAnswer."""
    try:
        return msgspec.json.decode(reply.body, type=shape)
    except msgspec.MsgspecError as error:
        raise UnexpectedAnswer(f"the answer is no {shape.__name__}: {error}") from error


def json_text(value: tuple[str, ...]) -> str:
    return msgspec.json.encode(value).decode()

"""What an exporter asks of a transport, and how a transport says that it failed."""

from collections.abc import Hashable, Sequence
from typing import Protocol, TypeVar

import msgspec

T_contra = TypeVar("T_contra", contravariant=True)


class Taken(msgspec.Struct, frozen=True):
    """The back-end has it, but for `rejected` of the items."""

    rejected: int = 0
    message: str = ""


class Refused(Exception):
    """The back-end will not take this, now or later."""


class TooLarge(Refused):
    """It may take less at once."""


class Unavailable(Exception):
    """The back-end may take it later. retry_after: seconds that it asked for."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Transport(Protocol[T_contra]):
    """Speaks one back-end's language. What errors say holds no header value and no path."""

    def key(self, item: T_contra) -> Hashable:
        """Items of one key go into one request."""

    def encode(self, items: Sequence[T_contra]) -> bytes:
        """A request's body."""

    async def send(self, body: bytes) -> Taken:
        """Within a bounded time. Raises: Refused, TooLarge, Unavailable."""

    async def close(self) -> None:
        """Give its connections up."""

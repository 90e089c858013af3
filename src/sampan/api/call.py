"""One API call as an endpoint sees it, and what endpoints ask of the rooms beside this one."""

import base64
import binascii
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import msgspec

from sampan.catalog.catalog import Catalog
from sampan.model.errors import InvalidArgument
from sampan.model.image import Image, PullProgress
from sampan.model.instance import InstanceView
from sampan.model.names import LATEST, VersionKey
from sampan.settings import Settings
from sampan.wire.shapes import read

DEFAULT_PAGE, MAX_PAGE = 20, 100  # Source: function-compute-api.md §4


class Instances(Protocol):
    """What runs now."""

    def views(self, function: str) -> list[InstanceView]: ...
    def counts(self, version: VersionKey) -> int:
        """Instances of a version that can serve."""


class Shifts(Protocol):
    """Brings versions into service."""

    async def ready(self, versions: list[VersionKey]) -> None:
        """Returns once calls may be sent to them. Raises: StartFailed."""

    async def caught_up(self) -> None:
        """Returns once the gateways have been told all that the catalog was told so far."""

    def progress(self, function: str) -> list[PullProgress]:
        """How far the image of a pending revision has come."""


@dataclass(frozen=True, slots=True)
class Passed:
    """An answer of the collector's, as it comes."""

    status: int
    headers: dict[str, str]
    body: AsyncIterator[bytes]


class Telemetry(Protocol):
    """What knows of traces, logs, numbers and use."""

    async def ask(self, target: str, accept: str, there: bool = False) -> Passed:
        """target: path and query.  accept: media types.  there: the function it is about exists.

        Raises: CollectorAway.
        """


class Status(Protocol):
    """How the platform is."""

    async def status(self) -> Mapping[str, object]:
        """The `platform` member of `GET /sampan/v1/status`: JSON, names in camelCase."""

    async def images(self) -> list[Image]:
        """The images that are local."""


@dataclass(frozen=True, slots=True)
class Platform:
    """What endpoints work with."""

    catalog: Catalog
    instances: Instances
    shifts: Shifts
    collector: Telemetry
    status: Status
    settings: Settings


S = TypeVar("S")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call: signed, its operation known, its body read."""

    platform: Platform
    request_id: str
    params: dict[str, str]  # of the path
    query: dict[str, str]
    body: bytes
    target: str = ""  # path and query behind our own prefix, as they came
    accept: str = ""

    @property
    def catalog(self) -> Catalog:
        return self.platform.catalog

    @property
    def function(self) -> str:
        return self.params["functionName"]

    @property
    def qualifier(self) -> str:
        return self.query.get("qualifier") or LATEST

    def read(self, shape: type[S]) -> S:
        """The body. Raises: InvalidMember, InvalidArgument."""
        return read(self.body, shape)

    def json(self, name: str, shape: Any) -> Any:
        """A list or object that a query parameter holds as JSON text; None: absent. Raises: InvalidArgument."""
        text = self.query.get(name)
        return read(text, shape, name) if text else None

    def flag(self, name: str) -> bool:
        """A truth as Python or JSON prints it. Raises: InvalidArgument."""
        text = self.query.get(name, "").lower()
        if text not in ("", "true", "false", "1", "0"):
            raise InvalidArgument(name, text, "true or false")
        return text in ("true", "1")

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Raises: InvalidArgument."""
        text = self.query.get(name)
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 18 and low <= int(text) <= high):
            raise InvalidArgument(name, text[:40], f"a number from {low} to {high}")
        return int(text)

    def limit(self, name: str = "limit") -> int:
        return self.number(name, DEFAULT_PAGE, 1, MAX_PAGE)

    def after(self, name: str = "nextToken") -> str:
        """What the last page ended with. Raises: InvalidArgument."""
        text = self.query.get(name, "")
        try:
            return base64.urlsafe_b64decode(text).decode()
        except (binascii.Error, ValueError) as error:
            raise InvalidArgument(name, text[:80], "what an earlier answer gave") from error

    def page(
        self, items: Sequence[T], key: Callable[[T], str], names: tuple[str, str] = ("limit", "nextToken")
    ) -> tuple[tuple[T, ...], str | None]:
        """The page asked for, of items sorted by `key`; and the token of the next."""
        after, limit = self.after(names[1]), self.limit(names[0])
        rest = [item for item in items if not after or key(item) > after]
        return tuple(rest[:limit]), token(key(rest[limit - 1])) if len(rest) > limit else None


Reply = msgspec.Struct | None | Passed
"""A shape is answered as JSON, None with 204."""


def token(last: str) -> str | None:
    """The opaque name of where a page ended; None: it was the last one."""
    return base64.urlsafe_b64encode(last.encode()).decode() if last else None


def moment(microseconds: int) -> str:
    """RFC 3339, UTC. Source: function-compute-api.md §4."""
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

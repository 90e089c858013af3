"""A registry's client: manifests, blobs, lists, and pushing.

A transfer that moves on may take as long as it takes; see `Patience` for one that does not.
Source: OCI distribution-spec 1.1.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from sampan.image.connection import TRANSIENT, Connection, Passing, Patience, whole
from sampan.image.manifest import ACCEPT, LARGEST, digest_of, invalid
from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import RegistryAuth

PIECE = 8 << 20  # bytes of a blob sent per request, and held in memory meanwhile
SLOWEST = 64 << 10  # bytes per second below which sending a piece counts as stuck
_MOST_PAGES = 1000  # of a listing

Read = Callable[[int, int], bytes]
"""`read(offset, length)` of a blob's bytes; called in a thread."""

T = TypeVar("T")


class Manifested(msgspec.Struct, frozen=True):
    """A manifest or index as the registry has it."""

    body: bytes
    media_type: str
    digest: str


class _Tags(msgspec.Struct, frozen=True):
    tags: list[str] | None = None


class _Catalog(msgspec.Struct, frozen=True):
    repositories: list[str] | None = None


class Registry:
    """One registry, with one login. Use as an async context manager.

    Every method raises ImageFailed: IMAGE_NOT_FOUND, IMAGE_DENIED, IMAGE_INVALID or IMAGE_PULL_FAILED.
    """

    def __init__(self, host: str, auth: RegistryAuth | None = None, patience: Patience | None = None) -> None:
        self.host = host
        self._auth, self._patience = auth or RegistryAuth(), patience or Patience()

    async def __aenter__(self) -> "Registry":
        self._at = await Connection(self.host, self._auth, self._patience).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._at.__aexit__(kind, error, trace)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    async def manifest(self, repository: str, wanted: str) -> Manifested:
        """By tag or digest; a digest is verified."""

        async def attempt() -> Manifested:
            url = self._at.url(f"{repository}/manifests/{wanted}")
            async with self._at.ask("GET", url, _pull(repository), headers={"Accept": ACCEPT}) as answer:
                await self._at.expect(answer, {200}, _named(repository, wanted))
                body = await whole(answer)
                return Manifested(body, answer.headers.get("Content-Type", ""), digest_of(body))

        found = await self._at.patiently(f"reading {_named(repository, wanted)}", attempt)
        if ":" in wanted and found.digest != wanted:
            raise invalid(f"{self.host} answered {found.digest} when asked for {wanted}")
        return found

    async def small_blob(self, repository: str, digest: str, size: int) -> bytes:
        """A whole blob of at most `LARGEST` bytes, verified."""
        if size > LARGEST:
            raise invalid(f"blob {digest} has {size} bytes where at most {LARGEST} are allowed")
        body = b"".join([piece async for piece in self.blob(repository, digest, size)])
        if digest_of(body) != digest:
            raise invalid(f"{self.host} answered {digest_of(body)} when asked for {digest}")
        return body

    async def blob(self, repository: str, digest: str, size: int, offset: int = 0) -> AsyncGenerator[bytes, None]:
        """The blob's bytes from `offset`, not verified. A broken connection is resumed where it broke."""
        tries = 0
        while offset < size:
            try:
                async with self._ranged(repository, digest, offset) as answer:
                    skip = 0 if answer.status == 206 else offset  # a server without ranges starts over
                    async for piece in answer.content.iter_any():
                        if skip >= len(piece):
                            skip -= len(piece)
                            continue
                        fresh, skip = piece[skip:], 0
                        offset += len(fresh)
                        if offset > size:
                            raise invalid(f"blob {digest} is longer than the {size} bytes its manifest says")
                        tries = 0
                        yield fresh
                if offset < size:
                    raise Passing(f"the connection ended at byte {offset} of {size}")
            except TRANSIENT as error:
                tries += 1
                await self._at.wait(tries, f"reading {digest} of {repository}", error)

    async def tags(self, repository: str) -> list[str]:
        return [
            tag
            for page in await self._pages(f"{repository}/tags/list", _pull(repository), repository)
            for tag in _listing(page, _Tags).tags or ()
        ]

    async def catalog(self) -> list[str]:
        """The names of all repositories, where the registry tells."""
        return [
            name
            for page in await self._pages("_catalog", "registry:catalog:*", "the list of repositories")
            for name in _listing(page, _Catalog).repositories or ()
        ]

    # ── pushing ──────────────────────────────────────────────────────────────────────────────────────

    async def has_blob(self, repository: str, digest: str) -> bool:
        async def attempt() -> bool:
            async with self._at.ask(
                "HEAD", self._at.url(f"{repository}/blobs/{digest}"), _push(repository)
            ) as answer:
                await self._at.expect(answer, {200, 404}, repository)
                return answer.status == 200

        return await self._at.patiently(f"looking for {digest} in {repository}", attempt)

    async def mount_blob(self, repository: str, digest: str, source: str) -> bool:
        """Take a blob over from another repository of this registry; False: it has to be sent."""

        async def attempt() -> bool:
            url = self._at.url(f"{repository}/blobs/uploads/").update_query({"mount": digest, "from": source})
            async with self._at.ask("POST", url, f"{_push(repository)} {_pull(source)}") as answer:
                await self._at.expect(answer, {201, 202}, repository)
                return answer.status == 201

        return await self._at.patiently(f"taking {digest} from {source}", attempt)

    async def push_blob(
        self, repository: str, digest: str, size: int, read: Read, progress: Callable[[int], None] | None = None
    ) -> bool:
        """Send a blob unless it is there; whether it was sent. `progress` hears how many bytes are over."""
        tell = progress or (lambda done: None)
        if await self.has_blob(repository, digest):
            tell(size)
            return False
        tries, offset, upload = 0, 0, None
        while True:
            try:
                upload = upload or await self._open_upload(repository)
                while size - offset > PIECE:
                    piece = await asyncio.to_thread(read, offset, PIECE)
                    upload = await self._send(repository, upload, piece, offset)
                    offset, tries = offset + len(piece), 0
                    tell(offset)
                last = await asyncio.to_thread(read, offset, size - offset)
                await self._finish(repository, upload, last, digest)
                tell(size)
            except TRANSIENT as error:
                tries += 1
                await self._at.wait(tries, f"pushing {digest} to {repository}", error)
                upload, offset = None, 0  # a registry may forget an upload whose connection broke
            else:
                return True

    async def push_manifest(self, repository: str, wanted: str, body: bytes, media_type: str) -> str:
        """Put a manifest under a tag or its digest, last of all; its digest."""

        async def attempt() -> str:
            url, headers = self._at.url(f"{repository}/manifests/{wanted}"), {"Content-Type": media_type}
            async with self._at.ask("PUT", url, _push(repository), headers=headers, body=body) as answer:
                await self._at.expect(answer, {200, 201, 202}, _named(repository, wanted))
            return digest_of(body)

        return await self._at.patiently(f"pushing {_named(repository, wanted)}", attempt)

    async def _open_upload(self, repository: str) -> URL:
        async with self._at.ask("POST", self._at.url(f"{repository}/blobs/uploads/"), _push(repository)) as answer:
            await self._at.expect(answer, {202}, repository)
            return _location(answer)

    async def _send(self, repository: str, upload: URL, piece: bytes, offset: int) -> URL:
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{offset}-{offset + len(piece) - 1}",
        }
        async with (
            asyncio.timeout(self._patience.silence + len(piece) / SLOWEST),
            self._at.ask("PATCH", upload, _push(repository), headers=headers, body=piece) as answer,
        ):
            await self._expect_upload(answer, {202, 204}, repository)
            return _location(answer)

    async def _finish(self, repository: str, upload: URL, piece: bytes, digest: str) -> None:
        headers = {"Content-Type": "application/octet-stream"}
        async with (
            asyncio.timeout(self._patience.silence + len(piece) / SLOWEST),
            self._at.ask("PUT", _with_digest(upload, digest), _push(repository), headers, piece) as answer,
        ):
            await self._expect_upload(answer, {201, 204}, repository)

    async def _expect_upload(self, answer: aiohttp.ClientResponse, good: set[int], repository: str) -> None:
        """An upload that was forgotten or is out of step is begun anew."""
        if answer.status in {404, 416}:
            raise Passing("it lost the upload")
        await self._at.expect(answer, good, repository)

    # ── parts ────────────────────────────────────────────────────────────────────────────────────────

    @asynccontextmanager
    async def _ranged(self, repository: str, digest: str, offset: int) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        url = self._at.url(f"{repository}/blobs/{digest}")
        async with self._at.ask("GET", url, _pull(repository), headers) as answer:
            await self._at.expect(answer, {200, 206}, _named(repository, digest))
            given = answer.headers.get("Content-Range", f"bytes {offset}-")
            if answer.status == 206 and not given.startswith(f"bytes {offset}-"):
                raise invalid(f"{self.host} answered '{given}' when asked for byte {offset} of {digest}")
            yield answer

    async def _pages(self, path: str, scope: str, what: str) -> list[bytes]:
        pages: list[bytes] = []
        url: URL | None = self._at.url(path)
        while url is not None and len(pages) < _MOST_PAGES:
            page, url = await self._at.patiently(f"listing {what}", partial(self._page, url, scope, what))
            pages.append(page)
        return pages

    async def _page(self, url: URL, scope: str, what: str) -> tuple[bytes, URL | None]:
        async with self._at.ask("GET", url, scope) as answer:
            await self._at.expect(answer, {200}, what)
            following = answer.links["next"]["url"] if "next" in answer.links else None
            return await whole(answer), URL(str(following)) if following else None


def _listing(page: bytes, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(page, type=shape)
    except msgspec.MsgspecError as error:
        raise ImageFailed(FailureKind.IMAGE_PULL_FAILED, f"the registry's list cannot be read ({error})") from error


def _named(repository: str, wanted: str) -> str:
    return f"{repository}{'@' if ':' in wanted else ':'}{wanted}"


def _pull(repository: str) -> str:
    return f"repository:{repository}:pull"


def _push(repository: str) -> str:
    return f"repository:{repository}:pull,push"


def _with_digest(upload: URL, digest: str) -> URL:
    """What the registry wrote into the place is its own, so it is not encoded anew."""
    return URL(f"{upload}{'&' if upload.raw_query_string else '?'}digest={digest}", encoded=True)


def _location(answer: aiohttp.ClientResponse) -> URL:
    if not (given := answer.headers.get("Location")):
        raise Passing("it named no place to upload to")
    return answer.url.join(URL(given, encoded=True))

"""The registry client: against a real registry, and against servers that do what registries sometimes do."""

import asyncio
import hashlib
import os
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from sampan.image.authentication import Challenge, challenges
from sampan.image.connection import Patience
from sampan.image.layout import Layer, push_image
from sampan.image.registry import PIECE, Registry
from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import RegistryAuth
from tests.engine.daemons import PASSWORD, USER, RegistryDaemon, registry

QUICK = Patience(connect=5, silence=5, tries=3, backoff=0.01)
BLOB = os.urandom(3 << 20)
DIGEST = "sha256:" + hashlib.sha256(BLOB).hexdigest()

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture(scope="module")
def hub() -> Iterator[RegistryDaemon]:
    with registry() as daemon:
        yield daemon


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that answers everything this way; its host and port."""
    runner = web.ServerRunner(web.Server(answer))  # type: ignore[arg-type]
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def read(host: str, auth: RegistryAuth | None = None, offset: int = 0) -> bytes:
    async with (
        Registry(host, auth, QUICK) as client,
        aclosing(client.blob("web", DIGEST, len(BLOB), offset)) as blob,
    ):
        return b"".join([piece async for piece in blob])


async def failure_of(work: Awaitable[object]) -> tuple[FailureKind, str]:
    with pytest.raises(ImageFailed) as raised:
        await work
    return raised.value.failure.kind, raised.value.failure.message


# ── a real registry ───────────────────────────────────────────────────────────────────────────────────


async def test_a_blob_larger_than_a_piece_is_pushed_in_pieces_and_read_back(hub: RegistryDaemon) -> None:
    body = os.urandom(2 * PIECE + 7)
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    heard: list[int] = []
    async with Registry(hub.host) as client:
        assert await client.push_blob("large", digest, len(body), lambda at, n: body[at : at + n], heard.append)
        assert heard == [PIECE, 2 * PIECE, len(body)]
        assert not await client.push_blob("large", digest, len(body), lambda at, n: body[at : at + n])
        back = b"".join([piece async for piece in client.blob("large", digest, len(body))])
        assert back == body
        tail = b"".join([piece async for piece in client.blob("large", digest, len(body), len(body) - 3)])
        assert tail == body[-3:]


async def test_a_blob_is_mounted_from_another_repository(hub: RegistryDaemon) -> None:
    async with Registry(hub.host) as client:
        await client.push_blob("here", DIGEST, len(BLOB), lambda at, n: BLOB[at : at + n])
        assert not await client.has_blob("there", DIGEST)
        assert await client.mount_blob("there", DIGEST, "here")
        assert await client.has_blob("there", DIGEST)


async def test_tags_and_repositories_are_listed_page_by_page() -> None:
    with registry() as own:
        layer = Layer.of_files([("a", b"", 0o644)])
        async with Registry(own.host) as client:
            await push_image(client, "web", "1", [layer], {})
            for number in range(120):  # the registry's own page has 100
                await push_image(client, f"r{number:03}", "only", [layer], {})
            await push_image(client, "web", "2", [layer], {})
            assert sorted(await client.tags("web")) == ["1", "2"]
            assert sorted(await client.catalog()) == [*(f"r{number:03}" for number in range(120)), "web"]
            kind, message = await failure_of(client.tags("absent"))
        assert kind is FailureKind.IMAGE_NOT_FOUND
        assert "absent" in message


async def test_basic_credentials_open_a_locked_registry_for_pushing_and_reading() -> None:
    with registry(htpasswd=True) as own:
        auth = RegistryAuth(USER, PASSWORD)
        async with Registry(own.host, auth) as client:
            await push_image(client, "web", "1", [Layer.of_files([("a", b"", 0o644)])], {})
            assert await client.tags("web") == ["1"]
        async with Registry(own.host) as client:
            assert (await failure_of(client.tags("web")))[0] is FailureKind.IMAGE_DENIED


# ── tokens ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            'Bearer realm="https://a.example/token?x=1",service="s, t",scope="r"',
            Challenge("bearer", "https://a.example/token?x=1", "s, t"),
        ),
        ("Bearer realm=plain , service=s", Challenge("bearer", "plain", "s")),
        ('BASIC Realm="x"', Challenge("basic", "x")),
        ("Negotiate", Challenge("negotiate")),
        ("", Challenge("")),
    ],
)
def test_challenges_are_read(value: str, expected: Challenge) -> None:
    assert challenges([value]) == [expected]


class TokenRegistry:
    """Wants a bearer token, and gives it to USER with PASSWORD."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/token":
            self.asked.append(request.query["scope"])
            login = "Basic " + b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            if request.headers.get("Authorization") != login or request.query["service"] != "test":
                return web.Response(status=401)
            return web.json_response({"token": "open", "expires_in": 300})
        if request.headers.get("Authorization") != "Bearer open":
            realm = f'Bearer realm="http://{request.host}/token",service="test"'
            return web.Response(status=401, headers={"WWW-Authenticate": realm})
        return web.json_response({"tags": ["1"]})


async def test_a_token_is_fetched_once_per_scope() -> None:
    hub = TokenRegistry()
    async with serving(hub.answer) as host, Registry(host, RegistryAuth(USER, PASSWORD), QUICK) as client:
        assert await client.tags("web") == ["1"]
        assert await client.tags("web") == ["1"]
    assert hub.asked == ["repository:web:pull"]


async def test_a_refused_token_is_a_denial() -> None:
    async with serving(TokenRegistry().answer) as host:
        for auth in (None, RegistryAuth(USER, "wrong")):
            async with Registry(host, auth, QUICK) as client:
                kind, message = await failure_of(client.tags("web"))
            assert kind is FailureKind.IMAGE_DENIED
            assert "registryConfig.authConfig" in message


async def test_a_login_is_not_sent_on_to_another_place() -> None:
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.StreamResponse:
        seen.append(request.headers.get("Authorization"))
        return web.Response(body=BLOB)

    async with serving(elsewhere) as other:

        async def answer(request: web.Request) -> web.StreamResponse:
            if "Authorization" not in request.headers:
                return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
            return web.Response(status=307, headers={"Location": f"http://{other}/data"})

        async with serving(answer) as host:
            assert await read(host, RegistryAuth(USER, PASSWORD)) == BLOB
    assert seen == [None]


def test_a_password_is_in_no_representation() -> None:
    client = Registry("localhost", RegistryAuth(USER, PASSWORD))
    assert PASSWORD not in repr(client)
    assert PASSWORD not in repr(RegistryAuth(USER, PASSWORD))


# ── registries that fail ──────────────────────────────────────────────────────────────────────────────


async def test_a_connection_that_breaks_is_resumed_where_it_broke() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("Range", ""))
        begin = int(asked[-1].removeprefix("bytes=").removesuffix("-") or 0)
        headers = {"Content-Range": f"bytes {begin}-{len(BLOB) - 1}/{len(BLOB)}"} if begin else {}
        response = web.StreamResponse(status=206 if begin else 200, headers=headers)
        response.content_length = len(BLOB) - begin
        await response.prepare(request)
        await response.write(BLOB[begin : begin + (1 << 20)])
        if begin + (1 << 20) < len(BLOB):
            assert request.transport is not None
            request.transport.close()
        return response

    async with serving(answer) as host:
        assert await read(host) == BLOB
    assert asked == ["", f"bytes={1 << 20}-", f"bytes={2 << 20}-"]


async def test_a_server_without_ranges_is_read_from_the_start_and_what_is_known_skipped() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BLOB)

    async with serving(answer) as host:
        assert await read(host, offset=12345) == BLOB[12345:]


async def test_a_range_that_was_not_asked_for_is_refused() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=206, body=BLOB, headers={"Content-Range": f"bytes 0-{len(BLOB)}/{len(BLOB)}"})

    async with serving(answer) as host:
        assert (await failure_of(read(host, offset=5)))[0] is FailureKind.IMAGE_INVALID


async def test_a_blob_longer_than_its_manifest_says_is_refused() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=BLOB + b"more")

    async with serving(answer) as host:
        assert (await failure_of(read(host)))[0] is FailureKind.IMAGE_INVALID


async def test_a_manifest_that_is_not_its_digest_is_refused() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async with serving(answer) as host, Registry(host, None, QUICK) as client:
        assert (await failure_of(client.manifest("web", DIGEST)))[0] is FailureKind.IMAGE_INVALID


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_passing_failure_is_tried_again_and_a_lasting_one_told(status: int) -> None:
    left = QUICK.tries - 1

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal left
        if left > 0:
            left -= 1
            return web.json_response({"errors": [{"code": "BUSY", "message": "not now"}]}, status=status)
        return web.json_response({"tags": ["1"]})

    async with serving(answer) as host, Registry(host, None, QUICK) as client:
        assert await client.tags("web") == ["1"]
        left = QUICK.tries
        kind, message = await failure_of(client.tags("web"))
    assert kind is FailureKind.IMAGE_PULL_FAILED
    assert f"it answered {status} (BUSY not now)" in message


async def test_a_registry_that_falls_silent_is_given_up() -> None:
    released = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        await released.wait()
        return web.Response()

    impatient = Patience(silence=0.1, tries=2, backoff=0.01)
    async with serving(answer) as host, Registry(host, None, impatient) as client:
        kind, message = await failure_of(client.manifest("web", "1"))
        released.set()
    assert kind is FailureKind.IMAGE_PULL_FAILED
    assert "no answer for 0.1 s" in message


async def test_a_document_without_end_is_cut_off() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(5 << 20))

    async with serving(answer) as host, Registry(host, None, QUICK) as client:
        assert (await failure_of(client.manifest("web", "1")))[0] is FailureKind.IMAGE_INVALID


async def test_a_lost_upload_is_begun_anew() -> None:
    uploads, stored = 0, bytearray()

    async def answer(request: web.Request) -> web.StreamResponse:
        nonlocal uploads
        if request.method == "HEAD":
            return web.Response(status=404)
        if request.method == "POST":
            uploads += 1
            stored.clear()
            return web.Response(status=202, headers={"Location": f"/up/{uploads}?_state=a%2Bb"})
        assert request.query["_state"] == "a+b"
        sent = await request.content.read()
        if request.method == "PATCH" and uploads == 1:
            return web.Response(status=404)
        stored.extend(sent)
        done = request.method == "PUT"
        return web.Response(status=201 if done else 202, headers={"Location": str(request.rel_url)})

    body = os.urandom(PIECE + 5)
    async with serving(answer) as host, Registry(host, None, QUICK) as client:
        assert await client.push_blob("web", "sha256:" + "0" * 64, len(body), lambda at, n: body[at : at + n])
    assert uploads == 2
    assert stored == body


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1: `pem`, `key`, and both in one file."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def make_certificate(place: Path) -> Path:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test"
    extra = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(place / "key"), "-out", str(place / "pem")]
    subprocess.run([*command.split(), *extra], check=True, capture_output=True, timeout=60)
    (place / "both").write_text((place / "key").read_text() + (place / "pem").read_text())
    return place


def server_side(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "both")
    return context


async def tags(request: web.Request) -> web.StreamResponse:
    return web.json_response({"tags": [request.scheme]})


async def test_a_registry_with_its_own_ca_is_trusted_once_the_ca_is_given(certificate: Path) -> None:
    auth = RegistryAuth(ca_pem=(certificate / "pem").read_text())
    async with serving(tags, server_side(certificate)) as host, Registry(host, auth, QUICK) as client:
        assert await client.tags("web") == ["https"]


async def test_a_certificate_that_another_ca_signed_is_refused_and_the_next_step_named(
    certificate: Path, stranger: Path
) -> None:
    auth = RegistryAuth(ca_pem=(stranger / "pem").read_text())
    async with serving(tags, server_side(certificate)) as host, Registry(host, auth, QUICK) as client:
        kind, message = await failure_of(client.tags("web"))
    assert kind is FailureKind.IMAGE_PULL_FAILED
    assert "rootCaCertBase64" in message


async def test_a_ca_that_cannot_be_read_is_told() -> None:
    async def use() -> None:
        async with Registry("localhost", RegistryAuth(ca_pem="no certificate")):
            pass

    assert "rootCaCertBase64" in (await failure_of(use()))[1]


async def test_an_insecure_registry_with_tls_is_not_verified(certificate: Path) -> None:
    auth = RegistryAuth(insecure=True, ca_pem=(certificate / "pem").read_text())
    async with serving(tags, server_side(certificate)) as host, Registry(host, auth, QUICK) as client:
        assert await client.tags("web") == ["https"]

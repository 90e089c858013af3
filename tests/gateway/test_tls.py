"""TLS at the front door: which certificate, which protocol, and what becomes of those who mean no good."""

import asyncio
import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import h2.connection
import h2.events
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.gateway import hello
from sampan.gateway.certificates import BadCertificate, Certificates, pair_of
from sampan.model.domain import Certificate, Domain
from tests.gateway.authority import Authority
from tests.gateway.conftest import MakeStage
from tests.gateway.stage import PATIENCE, Client, Request, Stage

AUTHORITY = Authority()
MakeSecure = Callable[..., Awaitable[Stage]]


@pytest.fixture
def secure(stage: MakeStage, tmp_path: Path) -> MakeSecure:
    """Makes a stage that listens for TLS, with one function; settings by keyword."""

    async def make(directory: Path | None = None, **settings: Any) -> Stage:
        own = AUTHORITY.write(tmp_path / "own", "localhost", "web.localhost")
        one = await stage(certificates=Certificates(directory, own), **settings)
        await one.serve(slots=10)
        return one

    return make


async def connect(stage: Stage, name: str, context: ssl.SSLContext) -> tuple[Client, ssl.SSLObject]:
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls_port, ssl=context, server_hostname=name)
    client = Client(reader, writer)
    stage._clients.append(client)
    return client, writer.get_extra_info("ssl_object")


async def names(stage: Stage, name: str, **more: Any) -> set[str]:
    """Of the certificate that a client who asks for `name` is shown."""
    context = AUTHORITY.client()
    context.check_hostname = False
    client, tls = await connect(stage, name, context)
    told = tls.getpeercert()
    client.writer.close()
    assert told is not None
    return {str(value) for kind, value in told["subjectAltName"] if kind == "DNS"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    made = tmp_path / "certificates"
    made.mkdir()
    return made


async def test_a_call_over_tls_is_told_to_the_function(secure: MakeSecure) -> None:
    stage = await secure()
    client, tls = await connect(stage, "web.localhost", AUTHORITY.client("http/1.1"))
    assert (tls.version(), tls.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    answer = await client.call("POST", "/path", b"body")
    assert (answer.status, answer.body) == (200, b"POST /path body")
    seen = stage._functions[0].requests[0]
    assert seen["X-Forwarded-Proto"] == "https"
    assert seen["Forwarded"].endswith(";proto=https")


async def test_http2_is_chosen_by_alpn(secure: MakeSecure) -> None:
    stage = await secure()
    transport = httpx.AsyncHTTPTransport(verify=AUTHORITY.client(), http2=True)
    async with httpx.AsyncClient(transport=transport) as client:
        request = client.build_request(
            "POST", f"https://127.0.0.1:{stage.tls_port}/path", content=b"body" * 10_000,
            headers={"host": "web.localhost"}, extensions={"sni_hostname": "web.localhost"},
        )  # fmt: skip
        answer = await client.send(request)
    assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
    assert answer.content == b"POST /path " + b"body" * 10_000
    assert stage._functions[0].requests[0]["X-Forwarded-Proto"] == "https"


async def test_http2_without_alpn_is_known_by_its_preface(secure: MakeSecure) -> None:
    stage = await secure()
    client, tls = await connect(stage, "web.localhost", AUTHORITY.client())
    assert tls.selected_alpn_protocol() is None
    machine = h2.connection.H2Connection()
    machine.initiate_connection()
    pseudo = {":method": "GET", ":path": "/", ":scheme": "https", ":authority": "web.localhost"}
    machine.send_headers(1, list(pseudo.items()), end_stream=True)
    client.send(machine.data_to_send())
    ended = False
    async with asyncio.timeout(PATIENCE):
        while not ended:
            events = machine.receive_data(await client.reader.read(1 << 16))
            ended = any(isinstance(event, h2.events.StreamEnded) for event in events)


async def test_an_answer_that_breaks_off_does_not_pass_for_a_whole_one(secure: MakeSecure) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await writer.drain()
        writer.close()

    stage = await secure()
    stage._functions[0].play = play
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client())
    client.request("GET", "/")
    assert (await client.head()).status == 200
    assert await client.closed() in (b"half", b"")
    assert not stage.gateway.leases.held()


async def test_a_websocket_goes_through_tls(secure: MakeSecure) -> None:
    async def play(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while piece := await reader.read(1 << 16):
            writer.write(piece.upper())

    stage = await secure()
    stage._functions[0].play = play
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client("http/1.1"))
    client.request("GET", "/", Connection="Upgrade", Upgrade="echo")
    assert (await client.head()).status == 101
    client.send("hello")
    async with asyncio.timeout(PATIENCE):
        assert await client.reader.readexactly(5) == b"HELLO"


async def test_a_large_body_goes_both_ways_over_tls(secure: MakeSecure) -> None:
    stage = await secure()
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client())
    body = bytes(range(256)) * (1 << 14)
    assert (await client.call("POST", "/", body)).body == b"POST / " + body


async def test_nothing_older_than_tls_1_2_is_spoken(secure: MakeSecure) -> None:
    stage = await secure()
    old = AUTHORITY.client()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(stage, "web.localhost", old)
    twelve = AUTHORITY.client()
    twelve.maximum_version = ssl.TLSVersion.TLSv1_2
    _, tls = await connect(stage, "web.localhost", twelve)
    assert tls.version() == "TLSv1.2"


async def test_each_name_has_its_own_certificate(secure: MakeSecure, directory: Path) -> None:
    AUTHORITY.write(directory / "one", "one.example.org")
    AUTHORITY.write(directory / "any", "*.example.org", "example.org")
    stage = await secure(directory)
    assert await names(stage, "one.example.org") == {"one.example.org"}
    assert await names(stage, "ONE.example.org") == {"one.example.org"}
    assert await names(stage, "two.example.org") == {"*.example.org", "example.org"}
    assert await names(stage, "a.two.example.org") == {"localhost", "web.localhost"}
    assert await names(stage, "127.0.0.1") == {"localhost", "web.localhost"}


async def test_a_domains_own_certificate_and_versions_come_first(secure: MakeSecure, directory: Path) -> None:
    AUTHORITY.write(directory / "any", "*.example.org")
    stage = await secure(directory)
    chain, key = AUTHORITY.issue("shop.example.org", "extra.example.org")
    own = Certificate("mine", chain.decode(), key.decode())
    stage.domains = [
        Domain("shop.example.org", ("HTTPS",), (), certificate=own, tls_max="TLSv1.2"),
        Domain("new.example.org", ("HTTPS",), (), tls_min="TLSv1.3"),
        Domain("bad.example.org", ("HTTPS",), (), certificate=Certificate("bad", "no", "no")),
    ]
    await stage.route()
    await stage.until(lambda: stage.gateway.routes.domain("shop.example.org") is not None)
    assert await names(stage, "shop.example.org") == {"shop.example.org", "extra.example.org"}
    _, tls = await connect(stage, "shop.example.org", AUTHORITY.client())
    assert tls.version() == "TLSv1.2"
    twelve = AUTHORITY.client()
    twelve.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await connect(stage, "new.example.org", twelve)
    assert await names(stage, "new.example.org") == {"*.example.org"}
    assert await names(stage, "bad.example.org") == {"*.example.org"}


async def test_a_new_certificate_is_used_and_connections_live_on(
    secure: MakeSecure, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sampan.gateway.server.CERTIFICATES", 0.02)
    AUTHORITY.write(directory / "one", "one.example.org")
    stage = await secure(directory)
    client, _ = await connect(stage, "one.example.org", AUTHORITY.client())
    assert (await client.call("GET", "/")).status == 200
    AUTHORITY.write(directory / "one", "one.example.org", "other.example.org")
    async with asyncio.timeout(PATIENCE):
        while len(await names(stage, "one.example.org")) != 2:
            pass
    assert (await client.call("GET", "/")).status == 200


def test_a_pair_that_cannot_be_used_leaves_the_one_before(tmp_path: Path, directory: Path) -> None:
    own = AUTHORITY.write(tmp_path / "own", "localhost")
    crt = AUTHORITY.write(directory / "one", "one.example.org")
    certificates = Certificates(directory, own)
    before = certificates.context("one.example.org", None)
    whole = crt.read_bytes()
    for content in (b"", whole[: len(whole) // 2], AUTHORITY.issue("one.example.org")[0]):
        crt.write_bytes(content)
        certificates.refresh()
        assert certificates.context("one.example.org", None) is before
    crt.unlink()
    certificates.refresh()
    assert certificates.context("one.example.org", None) is before, "the other half is still there"
    crt.write_bytes(whole)
    certificates.refresh()
    assert certificates.context("one.example.org", None) is not before
    crt.unlink()
    crt.with_suffix(".key").unlink()
    certificates.refresh()
    assert certificates.context("one.example.org", None) is certificates.context("localhost", None)


def test_of_two_certificates_with_one_name_the_longer_lasting_serves(tmp_path: Path, directory: Path) -> None:
    own = AUTHORITY.write(tmp_path / "own", "localhost")
    AUTHORITY.write(directory / "a", "one.example.org", days=60)
    AUTHORITY.write(directory / "b", "one.example.org", days=20)
    certificates = Certificates(directory, own)
    (directory / "a.crt").unlink()
    (directory / "a.key").unlink()
    longer = certificates.context("one.example.org", None)
    certificates.refresh()
    assert certificates.context("one.example.org", None) is not longer


def test_a_directory_that_is_away_for_a_while_takes_nothing_with_it(tmp_path: Path, directory: Path) -> None:
    own = AUTHORITY.write(tmp_path / "own", "localhost")
    AUTHORITY.write(directory / "one", "one.example.org")
    certificates = Certificates(directory, own)
    before = certificates.context("one.example.org", None)
    os.rename(directory, tmp_path / "away")
    certificates.refresh()
    assert certificates.context("one.example.org", None) is before


def test_a_key_with_a_password_is_refused_without_asking_for_it() -> None:
    from cryptography.hazmat.primitives import serialization

    chain, key = AUTHORITY.issue("localhost")
    private = serialization.load_pem_private_key(key, None)
    locked = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    with pytest.raises(BadCertificate):
        pair_of(chain, locked)


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: web.localhost\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + bytes(100),
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
        b"\x16\x03\x01\x00\x20" + b"\xff" * 32,
        bytes(1000),
    ],
)
async def test_garbage_does_no_harm(secure: MakeSecure, said: bytes) -> None:
    stage = await secure()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls_port)
    writer.write(said)
    writer.write_eof()
    async with asyncio.timeout(PATIENCE):
        await _drained(reader)
    writer.close()
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client())
    assert (await client.call("GET", "/")).status == 200


@pytest.mark.parametrize("said", [b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01"])
async def test_a_client_that_does_not_finish_its_hello_is_cut_off(secure: MakeSecure, said: bytes) -> None:
    stage = await secure(header_timeout=0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls_port)
    writer.write(said)
    async with asyncio.timeout(PATIENCE):
        await _drained(reader)
    writer.close()


async def test_a_client_that_stops_in_its_handshake_is_cut_off(secure: MakeSecure) -> None:
    stage = await secure(header_timeout=0.2)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = AUTHORITY.client().wrap_bio(incoming, outgoing, server_hostname="web.localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls_port)
    writer.write(outgoing.read())
    async with asyncio.timeout(PATIENCE):
        await _drained(reader)
    writer.close()


async def test_a_client_that_is_silent_after_its_handshake_is_cut_off(secure: MakeSecure) -> None:
    stage = await secure(header_timeout=0.2)
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client())
    assert await client.closed() == b""


async def test_many_handshakes_that_hang_keep_nobody_out(secure: MakeSecure) -> None:
    stage = await secure()
    hanging = [await asyncio.open_connection("127.0.0.1", stage.tls_port) for _ in range(200)]
    for _, writer in hanging:
        writer.write(b"\x16\x03\x01")
    client, _ = await connect(stage, "web.localhost", AUTHORITY.client())
    assert (await client.call("GET", "/")).status == 200
    for _, writer in hanging:
        writer.close()


async def test_a_hello_that_comes_byte_by_byte_is_understood(secure: MakeSecure) -> None:
    stage = await secure()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = AUTHORITY.client().wrap_bio(incoming, outgoing, server_hostname="web.localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    reader, writer = await asyncio.open_connection("127.0.0.1", stage.tls_port)
    for byte in outgoing.read():
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    async with asyncio.timeout(PATIENCE):
        while True:
            incoming.write(await reader.read(1 << 16))
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
    writer.close()


@given(st.binary(max_size=200))
def test_any_bytes_are_a_hello_or_none(record: bytes) -> None:
    hello.length(record)
    assert isinstance(hello.server_name(record), str)
    assert isinstance(hello.server_name(b"\x16\x03\x01\x00\xff\x01" + record), str)


async def _drained(reader: asyncio.StreamReader) -> None:
    """Until the other end closes, in whatever way."""
    try:
        while await reader.read(1 << 16):
            pass
    except ConnectionError:
        pass

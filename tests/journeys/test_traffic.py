"""What goes through the gateway, between a real client and a real container: large, slow, many, and odd."""

import asyncio
import concurrent.futures
import contextlib
import hashlib
import http.client
import io
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from sampan.image.layout import Layer, base_image, push_image
from sampan.image.registry import Registry
from tests.journeys.platform import PATIENCE, Platform, until

pytestmark = pytest.mark.root

LARGE = 200 << 20
FLAT = 32 << 10  # kB the gateway may grow while a large body goes through it
BLOCK = 1 << 20
UPLOADS = b"""user root;
events {}
http {
    client_body_temp_path /srv/incoming;
    client_max_body_size 0;
    server {
        listen 80;
        root /srv;
        location / { dav_methods PUT; }
    }
}
"""


@pytest.fixture(scope="module")
def traffic(platform: Platform) -> str:
    """Ten slots per instance."""
    image = platform.push("misbehave")
    words = ("--memory", "512", "--cpu", "0.5", "--timeout", "60", "--concurrency", "10", "--public")
    platform.cli("deploy", "traffic", "--image", image, *words)
    return "traffic"


@pytest.fixture(scope="module")
def files(platform: Platform) -> str:
    """nginx as it is, but for a place to put files: one layer on its image."""
    platform.push("nginx")
    image = asyncio.run(derived(platform))
    platform.cli(
        "deploy", "files", "--image", image, "--memory", "1024", "--cpu", "1", "--timeout", "60", "--public"
    )
    return "files"


async def derived(platform: Platform) -> str:
    layer = Layer.of_files([("etc/nginx/nginx.conf", UPLOADS, 0o644), ("srv/empty", b"", 0o644)])
    async with Registry(platform.registry) as registry:
        base = await base_image(registry, "nginx", "latest")
        await push_image(registry, "files", "latest", [layer], {}, base)
    return f"{platform.registry}/files:latest"


class Raw:
    """One connection to the front door, for what HTTP libraries do not let one see."""

    def __init__(self, platform: Platform, function: str) -> None:
        self.host = f"{function}.localhost"
        self.socket = socket.create_connection(("127.0.0.1", platform.settings.gateway.port), PATIENCE)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, method: str, target: str, *lines: str, body: bytes = b"") -> None:
        head = "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {self.host}", *lines, "", ""))
        self.socket.sendall(head.encode() + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers, names in lower case."""
        status = int(self.file.readline().split()[1])
        lines = iter(lambda: self.file.readline().decode().strip(), "")
        return status, {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One whole answer of known length."""
        status, headers = self.head()
        return status, headers, self.file.read(int(headers["content-length"]))

    def chunk(self) -> bytes:
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        self.file.readline()
        return data


def dial(platform: Platform) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", platform.settings.gateway.port, timeout=PATIENCE)


def digest_of(answer: http.client.HTTPResponse) -> tuple[int, str]:
    """Size and sha256 of a body."""
    size, whole = 0, hashlib.sha256()
    while block := answer.read(BLOCK):
        size += len(block)
        whole.update(block)
    return size, whole.hexdigest()


class Content(io.RawIOBase):
    """A body that is made while it is sent, and adds itself up."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.sum = hashlib.sha256()
        self._block = os.urandom(BLOCK)

    def read(self, size: int = -1) -> bytes:
        block = self._block[: min(self.left, BLOCK, size if size > 0 else BLOCK)]
        self.left -= len(block)
        self.sum.update(block)
        return block


@contextlib.contextmanager
def flat(platform: Platform) -> Iterator[None]:
    """The gateway's memory, at its highest within, is what it was before. Source: proc(5), clear_refs."""
    gateway = Path(f"/proc/{platform.processes()['gateway-1'].pid}")

    def peak() -> int:
        found = re.search(r"VmHWM:\s+(\d+) kB", (gateway / "status").read_text())
        assert found is not None
        return int(found[1])

    (gateway / "clear_refs").write_text("5")
    before = peak()
    yield
    assert peak() - before < FLAT


# ── large bodies ──────────────────────────────────────────────────────────────────────────────────────


def test_an_unmodified_web_server_is_served(platform: Platform) -> None:
    image = platform.push("nginx")
    platform.cli("deploy", "plain-nginx", "--image", image, "--memory", "128", "--cpu", "0.1", "--public")
    page = platform.get("plain-nginx")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html")
    assert "nginx" in page.text
    assert platform.get("plain-nginx", "/missing").status_code == 404


@pytest.mark.parametrize(("size", "chunked"), [(BLOCK, False), (LARGE, False), (LARGE, True)])
def test_a_file_goes_up_and_comes_down_byte_for_byte(
    platform: Platform, files: str, size: int, chunked: bool
) -> None:
    headers = {"Host": f"{files}.localhost"}
    length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}
    content = Content(size)
    with contextlib.closing(dial(platform)) as client, flat(platform):
        client.request("PUT", "/file", content, {**headers, **length}, encode_chunked=chunked)
        put = client.getresponse()
        assert (put.status // 100, put.read()) == (2, b"")
        client.request("GET", "/file", headers=headers)
        found = client.getresponse()
        assert found.getheader("content-length") == str(size)
        assert digest_of(found) == (size, content.sum.hexdigest())
        client.request("GET", "/file", headers={**headers, "Range": "bytes=-1000"})
        part = client.getresponse()
        assert (part.status, len(part.read())) == (206, 1000)


# ── bodies that come in pieces ────────────────────────────────────────────────────────────────────────


def test_chunks_go_up_and_come_down(platform: Platform, traffic: str) -> None:
    with Raw(platform, traffic) as client:
        pieces = b"3\r\nabc\r\n" + b"5;extension=1\r\ndefgh\r\n" + b"0\r\n\r\n"
        client.send("POST", "/body", "Transfer-Encoding: chunked", body=pieces)
        assert client.answer()[2] == b"abcdefgh"
        client.send("GET", "/chunked?n=3&ms=1")
        status, headers = client.head()
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert b"".join(iter(client.chunk, b"")) == b"chunk 0\nchunk 1\nchunk 2\n"


def test_each_event_of_a_stream_arrives_when_it_is_sent(platform: Platform, traffic: str) -> None:
    """Events are 1 s apart; that one arrives while the next is not yet there says that none is held back."""
    with Raw(platform, traffic) as client:
        client.send("GET", "/events?n=3&ms=1000")
        assert client.head()[1]["content-type"] == "text/event-stream"
        for n in range(3):
            assert client.chunk() == b"id: %d\ndata: event %d\n\n" % (n, n)
        assert client.chunk() == b""


def test_a_function_notices_that_its_client_has_gone(platform: Platform, traffic: str) -> None:
    def threads() -> int:  # one per connection
        status = platform.get(traffic, "/read?path=/proc/self/status").text
        return int(status.partition("Threads:")[2].split()[0])

    threads()  # whatever connection this takes is kept
    before = threads()
    with Raw(platform, traffic) as client:
        client.send("GET", "/chunked?n=100000&ms=20")
        client.head()
        assert client.chunk()
        assert threads() > before
    until(lambda: threads() <= before, "the connection to the function was closed")


def test_a_client_that_waits_for_continue_is_told_to(platform: Platform, traffic: str) -> None:
    with Raw(platform, traffic) as client:
        client.send("POST", "/body", "Content-Length: 4", "Expect: 100-continue")
        assert client.head()[0] == 100
        client.socket.sendall(b"body")
        status, _, body = client.answer()
        assert (status, body) == (200, b"body")


def test_an_answer_to_head_has_the_length_and_no_body(platform: Platform, traffic: str) -> None:
    with Raw(platform, traffic) as client:
        client.send("HEAD", "/status?code=200")
        status, headers = client.head()
        assert (status, headers["content-length"]) == (200, "8")
        client.send("GET", "/status?code=200")
        assert client.answer()[2] == b"as told\n"


def test_one_connection_carries_many_requests(platform: Platform, traffic: str) -> None:
    with Raw(platform, traffic) as client:
        ids = set()
        for n in range(50):
            client.send("POST", "/body", "Content-Length: 2", body=b"%02d" % n)
            status, headers, body = client.answer()
            assert (status, body) == (200, b"%02d" % n)
            ids.add(headers["x-fc-request-id"])
        assert len(ids) == 50


# ── websocket ─────────────────────────────────────────────────────────────────────────────────────────


def dial_websocket(platform: Platform, function: str) -> ClientConnection:
    port = platform.settings.gateway.port
    plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
    return connect(f"ws://{function}.localhost:{port}/ws", sock=plain, ping_interval=None, compression=None)


def test_a_websocket_echoes_text_and_bytes(platform: Platform, traffic: str) -> None:
    with dial_websocket(platform, traffic) as client:
        client.send("hello")
        assert client.recv(PATIENCE) == "hello"
        data = os.urandom(50_000)
        client.send(data)
        assert client.recv(PATIENCE) == data


def test_an_open_websocket_keeps_its_instance_awake(platform: Platform) -> None:
    """Silent for longer than it takes to freeze an idle instance: another one is frozen meanwhile."""
    image = platform.push("misbehave")
    for name in ("talking", "resting"):
        platform.cli("deploy", name, "--image", image, "--memory", "128", "--cpu", "0.1", "--public")
    with dial_websocket(platform, "talking") as client:
        client.send("before")
        assert client.recv(PATIENCE) == "before"
        platform.get("resting")
        until(lambda: frozen(platform, "resting"), "an idle instance is frozen")
        assert not frozen(platform, "talking")
        client.send("after")
        assert client.recv(PATIENCE) == "after"
    until(lambda: frozen(platform, "talking"), "it is frozen once the connection is closed")


# ── instances ─────────────────────────────────────────────────────────────────────────────────────────


def frozen(platform: Platform, function: str) -> bool:
    """Whether all instances of a function are, as the kernel sees it. Source: cgroup v1 freezer, cgroup v2."""
    realm = f"sampan-{platform.settings.platform.realm}"
    told = []
    for row in platform.instances(function):
        for file in ("freezer.state", "cgroup.events"):
            paths = [*Path("/sys/fs/cgroup").glob(f"*/{realm}/{row['instanceId']}/{file}")]
            paths += Path("/sys/fs/cgroup").glob(f"{realm}/{row['instanceId']}/{file}")
            told += [path.read_text() for path in paths]
    assert told
    return any("FROZEN" in text or "frozen 1" in text for text in told)


def test_a_request_wakes_a_frozen_instance(platform: Platform, traffic: str) -> None:
    before = platform.get(traffic).headers["x-boot"]
    until(lambda: frozen(platform, traffic), "it is frozen")
    awake = platform.get(traffic)
    assert (awake.status_code, awake.headers["x-boot"]) == (200, before)


def test_ten_slots_are_one_instance(platform: Platform) -> None:
    words = ("--memory", "128", "--cpu", "0.1", "--concurrency", "10", "--timeout", "60", "--public")
    platform.cli("deploy", "shared", "--image", platform.push("misbehave"), *words)
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: platform.get("shared", "/slow?ms=2000"), range(10)))
    assert [answer.status_code for answer in answers] == [200] * 10
    assert len({answer.headers["x-boot"] for answer in answers}) == 1
    assert len(platform.instances("shared")) == 1
    assert platform.get("shared", "/load").text.split()[-1] == "10"


# ── headers ───────────────────────────────────────────────────────────────────────────────────────────


def received(
    platform: Platform, function: str, headers: dict[str, str], path: str = "/head"
) -> dict[str, list[str]]:
    """The headers that the function received, names in lower case."""
    text = platform.get(function, path, headers=headers).text
    found: dict[str, list[str]] = {}
    for line in text.split("\r\n")[1:-2]:
        name, _, value = line.partition(":")
        found.setdefault(name.lower(), []).append(value.strip())
    return found


def test_a_container_is_told_who_asked_for_what(platform: Platform, traffic: str) -> None:
    found = received(platform, traffic, {})
    host = f"{traffic}.localhost"
    assert found["host"] == [host]
    assert found["x-forwarded-for"] == ["127.0.0.1"]
    assert found["x-forwarded-proto"] == ["http"]
    assert found["x-forwarded-host"] == [host]
    assert found["forwarded"] == [f'for=127.0.0.1;host="{host}";proto=http']
    assert found["x-fc-client-ip"] == ["127.0.0.1"]
    assert len(found["traceparent"][0]) == 55


def test_what_proxies_before_us_told_is_kept_and_added_to(platform: Platform, traffic: str) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    told = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "https",
        "Forwarded": "for=203.0.113.9",
        "traceparent": trace,
        "tracestate": "vendor=1",
    }
    found = received(platform, traffic, told)
    assert found["x-forwarded-for"] == ["203.0.113.9, 127.0.0.1"]
    assert found["x-forwarded-proto"] == ["https"]
    assert found["forwarded"][0].startswith("for=203.0.113.9, for=127.0.0.1;")
    (parent,) = found["traceparent"]
    assert (parent[:36], found["tracestate"]) == (trace[:36], ["vendor=1"])
    assert parent[36:52] != trace[36:52]  # the platform's own span lies between
    assert found["x-fc-client-ip"] == ["127.0.0.1"]


def test_no_client_can_speak_for_the_platform(platform: Platform, traffic: str) -> None:
    forged = {
        "x-fc-request-id": "forged",
        "X-Fc-Account-Id": "forged",
        "x_fc_function_name": "forged",
        "x-fc-security-token": "forged",
        "x-fc-own-invention": "forged",
        "Connection": "keep-alive, X-Fc-Region",
        "Keep-Alive": "timeout=forged",
    }
    found = received(platform, traffic, forged)
    assert not [name for name, values in found.items() if "forged" in " ".join(values)]
    assert found["x-fc-function-name"] == [traffic]
    assert found["x-fc-region"] == [platform.settings.platform.region]
    assert all(len(values) == 1 for name, values in found.items() if name.startswith("x-fc-"))


def test_a_path_is_passed_on_as_it_came(platform: Platform, traffic: str) -> None:
    with Raw(platform, traffic) as client:
        client.send("GET", "/head?a=%2F%20b&c=/../x;y&d=[1]")
        assert client.answer()[2].startswith(b"GET /head?a=%2F%20b&c=/../x;y&d=[1] HTTP/1.1\r\n")
    with Raw(platform, "") as client:
        client.host = "localhost"
        client.send("GET", f"/fn/{traffic}/head?q=1")
        head = client.answer()[2].decode()
        assert head.startswith("GET /head?q=1 HTTP/1.1\r\n")
        assert f"X-Fc-Base-Path: /fn/{traffic}\r\n" in head

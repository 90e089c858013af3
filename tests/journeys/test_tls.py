"""TLS at the front door of a real platform: keys that only root may read, and new ones while it runs."""

import shutil
import socket
import ssl
import tempfile
from pathlib import Path

import pytest

from tests.gateway.authority import Authority
from tests.journeys.platform import PATIENCE, Platform, free_port, running, until

pytestmark = pytest.mark.root


def call(platform: Platform, port: int, name: str, trusted: ssl.SSLContext) -> tuple[bytes, set[str]]:
    """The answer, and the names of the certificate."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as raw,
        trusted.wrap_socket(raw, server_hostname=name) as tls,
    ):
        told = tls.getpeercert()
        assert told is not None
        tls.sendall(f"GET /fn/web/ HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := tls.recv(1 << 16):
            answer += piece
    return answer, {str(value) for kind, value in told["subjectAltName"] if kind == "DNS"}


def test_functions_answer_over_tls(own_state: Path) -> None:
    authority, port = Authority(), free_port()
    directory = Path(tempfile.mkdtemp(prefix="sampan-certificates-"))  # for its owner alone
    authority.write(directory / "site", "www.example.org").with_suffix(".key").chmod(0o600)
    settings = {"gateway.tls_port": port, "gateway.certificates": str(directory)}
    with running(own_state, **settings) as platform:
        image = platform.push("hello-python")
        platform.cli("deploy", "web", "--image", image, "--public")
        answer, names = call(platform, port, "www.example.org", authority.client())
        assert answer.startswith(b"HTTP/1.1 200"), platform.logs()
        assert names == {"www.example.org"}
        own = ssl.create_default_context(cafile=str(platform.layout.certificate))
        answer, names = call(platform, port, "localhost", own)
        assert answer.startswith(b"HTTP/1.1 200")
        assert names == {"localhost", "*.localhost"}
        assert platform.layout.certificate.with_suffix(".key").stat().st_mode & 0o077 == 0

        # A gateway that is started anew reads the keys as root again.
        platform.kill("gateway-1")
        _, names = call(platform, port, "www.example.org", authority.client())
        assert names == {"www.example.org"}

        # While it runs it reads them as the user it became, who has to be let in.
        directory.chmod(0o755)
        authority.write(directory / "site", "www.example.org", "example.org").with_suffix(".key").chmod(0o644)

        def renewed() -> bool:
            return len(call(platform, port, "www.example.org", authority.client())[1]) == 2

        until(renewed, "the new certificate")
    shutil.rmtree(directory)


def test_a_directory_that_is_none_is_named(own_state: Path) -> None:
    missing = own_state / "certificates"
    platform = Platform(own_state, **{"gateway.tls_port": free_port(), "gateway.certificates": str(missing)})
    said = platform.cli("up", "--detach", *platform.flags, check=False)
    assert said.returncode != 0
    assert f"{missing} is not a directory".encode() in said.stderr
    shutil.rmtree(own_state)

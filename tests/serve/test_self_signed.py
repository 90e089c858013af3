"""The platform's own certificate: made once, for nobody else to read, and anew when it serves no more."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from sampan.gateway.certificates import Certificates
from sampan.serve import self_signed


def test_it_is_made_once_and_kept(tmp_path: Path) -> None:
    own = tmp_path / "own.crt"
    self_signed.ensure(own, "example.org")
    made = own.read_bytes()
    assert own.with_suffix(".key").stat().st_mode & 0o777 == 0o600
    self_signed.ensure(own, "example.org")
    assert own.read_bytes() == made
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.crt", "own.key"]


def test_a_gateway_can_serve_it_and_a_client_can_trust_it(tmp_path: Path) -> None:
    own = tmp_path / "own.crt"
    self_signed.ensure(own, "example.org")
    ssl.create_default_context(cafile=str(own))
    assert isinstance(Certificates(None, own).context("", None), ssl.SSLContext)


def test_another_domain_or_a_near_end_or_a_lost_key_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own.crt"
    self_signed.ensure(own, "example.org")
    seen = {own.read_bytes()}
    self_signed.ensure(own, "example.net")
    seen.add(own.read_bytes())
    own.with_suffix(".key").unlink()
    self_signed.ensure(own, "example.net")
    seen.add(own.read_bytes())
    own.write_bytes(b"half of it")
    self_signed.ensure(own, "example.net")
    seen.add(own.read_bytes())
    monkeypatch.setattr(self_signed, "RENEW", timedelta(days=1000))
    self_signed.ensure(own, "example.net")
    seen.add(own.read_bytes())
    assert len(seen) == 5

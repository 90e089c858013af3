"""Settings that cannot be used are refused with the one that is wrong, never with a traceback."""

from pathlib import Path

import pytest

from sampan.settings import BadSettings, load


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"gateway = 3\n", "gateway"),
        (b"[gateway\n", "line 1"),
        (b"\xff\xfe", "utf-8"),
        (b'[gateway]\nport = "x"\n', "gateway.port"),
        (b"[gateway]\nidle_timeout = nan\n", "gateway.idle_timeout"),
        (b"[gateway]\nidle_timeout = inf\n", "gateway.idle_timeout"),
        (b"[gateway]\nqueue_wait = -5\n", "gateway.queue_wait"),
        (b'[platform]\nlog_level = "loud"\n', "platform.log_level"),
        (b'[platform]\nlog_format = "xml"\n', "platform.log_format"),
        (b'[engine]\nruntime = "rocket"\n', "engine.runtime"),
        (b'[engine]\nnetwork = "anywhere"\n', "engine.network"),
        (b'[engine]\nnetwork = "10.1.2.0/24"\n', "engine.network"),
        (b"[gateway]\nport = 5000\n", "registry.port"),
        (b"[gateway]\nport = 8443\ntls_port = 8443\n", "gateway.tls_port"),
        (b"[gateway]\ntls_port = 5000\n", "registry.port"),
        (b"[gateway]\nport = 16686\n", "telemetry.port"),
        (b"[gateway]\ntls_port = 16686\n", "telemetry.port"),
        (b"[telemetry]\nport = 5000\n", "telemetry.port"),
        (b"[nowhere]\nport = 1\n", "nowhere"),
    ],
)
def test_a_bad_file_is_refused_and_told_what_is_wrong(tmp_path: Path, content: bytes, told: str) -> None:
    file = tmp_path / "sampan.toml"
    file.write_bytes(content)
    with pytest.raises(BadSettings, match=told):
        load(file, {})


def test_one_port_at_two_addresses_is_allowed() -> None:
    flags = {"gateway.port": 5000, "gateway.listen": "192.0.2.1"}
    assert load(None, {}, flags).gateway.port == load(None, {}, flags).registry.port

"""`sampan import`, into a real registry."""

import hashlib
import json
import shutil
import socket
import subprocess
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.cli.failures import Code
from sampan.image.manifest import host_platform
from tests.cli.conftest import Run

PROGRAM = shutil.which("docker-registry")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    if PROGRAM is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    storage = {"filesystem": {"rootdirectory": str(tmp_path / "registry")}}
    config.write_text(json.dumps({"version": 0.1, "storage": storage, "http": {"addr": host}}))
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([PROGRAM, "serve", str(config)], stdout=log, stderr=log)
    try:
        _await(host, process)
        yield host
    finally:
        process.terminate()
        process.wait(20)


def _await(host: str, process: "subprocess.Popen[bytes]") -> None:
    name, _, port = host.partition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((name, int(port)), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("the registry did not start")


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """An OCI layout with one image of one layer. Source: OCI image-spec, image-layout.md."""
    root = tmp_path / "my App"
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def blob(kind: str, body: bytes) -> dict[str, object]:
        digest = hashlib.sha256(body).hexdigest()
        (blobs / digest).write_bytes(body)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(body)}

    layer_file = tmp_path / "layer.tar"
    with tarfile.open(layer_file, "w") as layer:
        layer.add(__file__, "app.py")
    content = layer_file.read_bytes()
    here = host_platform()
    rootfs = {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(content).hexdigest()]}
    config = {"architecture": here.architecture, "os": here.os, "config": {}, "rootfs": rootfs}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob("config.v1+json", json.dumps(config).encode()),
        "layers": [blob("layer.v1.tar", content)],
    }
    entry = blob("manifest.v1+json", json.dumps(manifest).encode())
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return root


def test_an_archive_goes_into_the_registry_under_its_files_name(
    sampan: Run, environment: dict[str, str], registry: str, layout: Path
) -> None:
    environment["SAMPAN_REGISTRY"] = registry
    result = sampan("import", str(layout), "-o", "json")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert shown["image"] == f"{registry}/my-app:latest"
    asked = urllib.request.Request(
        f"http://{registry}/v2/my-app/manifests/latest",
        headers={"accept": "application/vnd.oci.image.manifest.v1+json"},
    )
    with urllib.request.urlopen(asked, timeout=20) as answer:
        assert "sha256:" + hashlib.sha256(answer.read()).hexdigest() == shown["digest"]
    assert "done" in result.stderr  # a line per layer, as there is no terminal


def test_what_is_no_archive_is_refused_with_a_word_on_what_would_be(
    sampan: Run, environment: dict[str, str], registry: str, tmp_path: Path
) -> None:
    environment["SAMPAN_REGISTRY"] = registry
    file = tmp_path / "text.tar"
    file.write_text("no tar")
    result = sampan("import", str(file), "web:1")
    assert result.exit_code == Code.FAILED
    assert "docker save" in result.stderr


def test_a_name_no_registry_takes_is_refused(
    sampan: Run, environment: dict[str, str], registry: str, layout: Path
) -> None:
    environment["SAMPAN_REGISTRY"] = registry
    assert sampan("import", str(layout), "Big Name").exit_code == Code.FAILED

"""Reading manifests, indexes and configs. Source: OCI image-spec 1.1."""

import hashlib
import json
from typing import Any

import pytest

from sampan.image.manifest import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER,
    OCI_MANIFEST,
    Index,
    Manifest,
    Platform,
    chain_ids,
    check_platform,
    choose,
    image_config,
    read_config,
    read_manifest,
)
from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import ImageConfig

AMD = Platform("amd64", "linux")
ARM = Platform("arm64", "linux")


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def manifest(**changes: Any) -> bytes:
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": {"mediaType": OCI_CONFIG, "digest": digest("c"), "size": 3},
            "layers": [{"mediaType": f"{OCI_LAYER}+gzip", "digest": digest("a"), "size": 5}],
            **changes,
        }
    ).encode()


def index(*platforms: tuple[str, str, str] | None, **changes: Any) -> bytes:
    entries = [
        {"mediaType": OCI_MANIFEST, "digest": digest("0123456789abcdef"[at]), "size": 7}
        | ({"platform": {"os": given[0], "architecture": given[1], "variant": given[2]}} if given else {})
        for at, given in enumerate(platforms)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries, **changes}).encode()


def read_index(body: bytes) -> Index:
    found = read_manifest(body)
    assert isinstance(found, Index)
    return found


def refusal(body: bytes, media_type: str = "") -> tuple[FailureKind, str]:
    with pytest.raises(ImageFailed) as raised:
        read_manifest(body, media_type)
    return raised.value.failure.kind, raised.value.failure.message


def test_a_manifest_lists_its_config_and_layers() -> None:
    found = read_manifest(manifest())
    assert isinstance(found, Manifest)
    assert (found.config.digest, found.layers[0].size) == (digest("c"), 5)


def test_the_media_type_may_be_in_the_body_the_header_or_nowhere() -> None:
    bare = json.loads(index(("linux", "amd64", "")))
    del bare["mediaType"]
    body = json.dumps(bare).encode()
    for media_type in ("", OCI_INDEX, f"{DOCKER_INDEX}; charset=utf-8"):
        assert isinstance(read_manifest(body, media_type), Index)
    assert isinstance(read_manifest(manifest(mediaType=DOCKER_MANIFEST)), Manifest)


@pytest.mark.parametrize(
    ("body", "word"),
    [
        (b"<html>", "cannot be read"),
        (b'{"schemaVersion": 1}', "schema version 1"),
        (manifest(config={"mediaType": "application/vnd.x+json", "digest": digest("c"), "size": 3}), "vnd.x+json"),
        (manifest(layers=[{"mediaType": "text/plain", "digest": digest("a"), "size": 5}]), "text/plain"),
        (manifest(layers=[{"mediaType": OCI_LAYER, "digest": "../../etc/passwd", "size": 5}]), "sha256"),
        (manifest(layers=[{"mediaType": OCI_LAYER, "digest": digest("a"), "size": -1}]), "-1 bytes"),
        (manifest(layers=None), "cannot be read"),
    ],
)
def test_what_is_no_image_is_invalid_and_says_why(body: bytes, word: str) -> None:
    kind, message = refusal(body)
    assert kind is FailureKind.IMAGE_INVALID
    assert word in message


def test_the_platform_of_the_machine_is_chosen() -> None:
    both = read_index(index(("linux", "arm64", "v8"), ("linux", "amd64", ""), ("unknown", "unknown", "")))
    assert choose(both, AMD, "x").digest == digest("1")
    assert choose(both, ARM, "x").digest == digest("0")


def test_a_newer_level_of_the_architecture_is_not_chosen() -> None:
    levels = read_index(index(("linux", "amd64", "v3"), ("linux", "amd64", "v1"), ("linux", "amd64", "")))
    assert choose(levels, AMD, "x").digest == digest("2")


def test_a_lone_manifest_without_platform_is_taken_at_its_word() -> None:
    assert choose(read_index(index(None)), AMD, "x").digest == digest("0")


def test_a_wrong_platform_names_what_exists() -> None:
    others = read_index(index(("linux", "s390x", ""), ("windows", "amd64", ""), ("unknown", "unknown", "")))
    with pytest.raises(ImageFailed) as raised:
        choose(others, AMD, "web:1")
    assert raised.value.failure.kind is FailureKind.IMAGE_WRONG_PLATFORM
    assert "web:1 is built for linux/s390x, windows/amd64, but this machine is linux/amd64" in str(raised.value)


def test_a_config_for_another_platform_is_refused() -> None:
    with pytest.raises(ImageFailed) as raised:
        check_platform(read_config(b'{"architecture": "arm64", "os": "linux"}'), AMD, "x")
    assert raised.value.failure.kind is FailureKind.IMAGE_WRONG_PLATFORM
    check_platform(read_config(b"{}"), AMD, "x")


def test_a_config_tells_how_the_image_wants_to_be_run() -> None:
    run = {
        "Entrypoint": ["/bin/web"],
        "Cmd": ["-v"],
        "Env": ["A=b"],
        "WorkingDir": "/srv",
        "User": "web:www",
        "ExposedPorts": {"8080/tcp": {}, "80": {}, "53/udp": {}, "1-9/tcp": {}, "70000/tcp": {}},
        "StopSignal": "SIGQUIT",
        "Unknown": 1,
    }
    body = json.dumps({"architecture": "amd64", "os": "linux", "config": run}).encode()
    assert image_config(read_config(body)) == ImageConfig(
        entrypoint=("/bin/web",),
        command=("-v",),
        environment=("A=b",),
        working_directory="/srv",
        user="web:www",
        exposed_ports=(80, 8080),
        stop_signal="SIGQUIT",
    )


@pytest.mark.parametrize(
    "run", ["null", "{}", '{"Entrypoint": null, "Env": null, "ExposedPorts": null, "User": ""}']
)
def test_a_config_that_says_nothing_has_the_defaults(run: str) -> None:
    assert image_config(read_config(f'{{"config": {run}}}'.encode())) == ImageConfig()


def test_chain_ids_depend_on_all_layers_below() -> None:
    # Source: OCI image-spec, config.md: ChainID(A|B) = Digest(ChainID(A) + " " + DiffID(B))
    one, two = chain_ids((digest("a"), digest("b")))
    assert one == digest("a")
    assert two == "sha256:" + hashlib.sha256(f"{digest('a')} {digest('b')}".encode()).hexdigest()
    assert chain_ids(()) == ()

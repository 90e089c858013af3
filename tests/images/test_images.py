"""The images of examples and tests: what they are made of, and that they are made once."""

import json
import tarfile
from pathlib import Path

import pytest

from examples import images
from tests.images import archive


def manifest(path: Path) -> dict[str, list[dict[str, int]]]:
    with tarfile.open(path) as tar:

        def member(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None
            return file.read()

        digest = json.loads(member("index.json"))["manifests"][0]["digest"]
        found: dict[str, list[dict[str, int]]] = json.loads(member(f"blobs/{digest.replace(':', '/')}"))
        return found


def test_a_changed_file_makes_another_image(tmp_path: Path) -> None:
    recipe = images.Recipe("one", tmp_path)
    (tmp_path / "Containerfile").write_text("FROM scratch\n")
    before = recipe.key()
    assert recipe.key() == before
    (tmp_path / "Containerfile").write_text("FROM scratch\nCMD x\n")
    assert recipe.key() != before


def test_a_changed_base_makes_another_image(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    base = images.Recipe("base", tmp_path / "base")
    recipe = images.Recipe("one", tmp_path, base=base)
    before = recipe.key()
    (tmp_path / "base" / "prepare").write_text("#!/bin/sh\n")
    assert recipe.key() != before


def test_a_missing_program_is_named() -> None:
    with pytest.raises(images.BuildFailed, match="no-such-program is missing"):
        images.run("no-such-program")


def test_what_a_failing_command_printed_is_told() -> None:
    with pytest.raises(images.BuildFailed, match="from the command"):
        images.run("sh", "-c", "echo from the command; exit 3")


@pytest.mark.root
def test_an_image_is_built_once() -> None:
    first = archive("static")
    made = first.stat().st_mtime_ns
    assert archive("static") == first
    assert first.stat().st_mtime_ns == made


@pytest.mark.root
def test_the_static_image_is_one_small_layer() -> None:
    layers = manifest(archive("static"))["layers"]
    assert len(layers) == 1
    assert layers[0]["size"] < 20_000


@pytest.mark.root
@pytest.mark.slow
def test_two_versions_of_the_python_example_share_all_but_their_code() -> None:
    one, two = (manifest(archive(name))["layers"] for name in ("hello-python", "hello-python-v2"))
    assert one[:2] == two[:2]
    assert one[2] != two[2]
    assert one[2]["size"] < 10_000

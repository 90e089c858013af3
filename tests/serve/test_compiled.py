"""The gateway's hot path as extensions: never a stale one, never half of one, and no other behaviour."""

import ast
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.serve import compiled, compiling

PROVED = (
    ("hostile", "test_calls.py", "test_framing_fuzz.py", "test_http2.py", "test_known.py", "test_upstream.py"),
    (
        "test_affinity.py", "test_events.py", "test_failures.py", "test_leases.py", "test_plain.py",
        "test_route.py", "test_story.py", "test_tls.py", "test_traces.py",
        "test_grpc.py::test_a_unary_call_and_its_metadata_go_both_ways",
        "test_grpc.py::test_a_callers_deadline_ends_the_call_everywhere",
    ),
)  # fmt: skip
"""Of tests/gateway: what is tried compiled with every run of all tests, in two processes since much of it is
waiting; by hand, all of them."""

USE = """
import logging, sys
sys.prefix = sys.argv[1]
logging.basicConfig(level="INFO", format="%(message)s", stream=sys.stdout)
from sampan.serve import compiled
compiled.use()
from sampan.gateway import exchange, server
print(exchange.__file__)
"""


@pytest.fixture
def prefix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where builds are kept in the test."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package that may be changed."""
    copy = tmp_path / "sampan"
    shutil.copytree(compiled.root(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(compiled, "root", lambda: copy)
    return copy


def used(prefix: Path, **environment: str) -> tuple[str, str]:
    """What a gateway's process says, and from where it has a module of the hot path."""
    done = subprocess.run(
        [sys.executable, "-c", USE, str(prefix)],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    said, _, file = done.stdout.strip().rpartition("\n")
    return said, file


# ── which one is taken ──


@pytest.mark.parametrize(
    "changed",
    ["gateway/invoke.py", "gateway/tracing.py", "link/messages.py", "model/errors.py", "settings.py"],
)
def test_a_change_of_any_source_it_was_made_from_makes_a_build_stale(sources: Path, changed: str) -> None:
    before = compiled.fingerprint()
    assert compiled.fingerprint() == before
    with (sources / changed).open("a") as file:
        file.write("\n")
    assert compiled.fingerprint() != before


def test_a_renamed_source_makes_a_build_stale(sources: Path) -> None:
    before = compiled.fingerprint()
    (sources / "model" / "names.py").rename(sources / "model" / "words.py")
    assert compiled.fingerprint() != before


def test_another_compiler_or_interpreter_makes_a_build_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {compiled.fingerprint()}
    monkeypatch.setattr(compiled, "version", lambda name: "0.1")
    seen.add(compiled.fingerprint())
    monkeypatch.setattr(sys, "version", "3.99")
    seen.add(compiled.fingerprint())
    assert len(seen) == 3


def test_a_build_of_other_sources_is_left_alone_and_the_log_says_what_to_do(prefix: Path) -> None:
    stale = compiled.home() / ("0" * 32)
    stale.mkdir(parents=True)
    (stale / "sampan.gateway.exchange.so").write_bytes(b"of yesterday")
    said, file = used(prefix)
    assert said == "hot path: interpreted; run `make compile`"
    assert file.endswith("exchange.py")


def test_it_can_be_turned_off(prefix: Path) -> None:
    (compiled.home() / compiled.fingerprint()).mkdir(parents=True)
    said, file = used(prefix, SAMPAN_COMPILED="0")
    assert said == "hot path: interpreted, as asked"
    assert file.endswith("exchange.py")


def test_what_cannot_be_loaded_is_warned_of_and_the_sources_serve(prefix: Path) -> None:
    build = compiled.home() / compiled.fingerprint()
    build.mkdir(parents=True)
    for name in ("sampan.gateway.exchange", "sampan.gateway.invoke"):
        (build / f"{name}.so").write_bytes(b"no program")
    said, file = used(prefix)
    assert said.startswith("hot path: interpreted; the compiled one cannot be loaded")
    assert file.endswith("exchange.py")


# ── what it is made from ──


def test_the_fingerprint_covers_all_sources_that_the_compiler_reads() -> None:
    package = compiled.root()
    covered = set(compiled._sources())
    for file in [file for file in covered if file.parent.name != "serve"]:
        for name in _imports(file):
            if name.partition(".")[0] == "sampan":
                path = package.parent / name.replace(".", "/")
                found = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
                assert found in covered or found == package / "__init__.py", f"{file} imports {name}"


def test_whoever_inherits_from_a_compiled_class_is_compiled() -> None:
    """At run time it would be a TypeError, and only when one is made."""
    hot = {compiled.source(module) for module in compiled.MODULES}
    made = {one.name for file in hot for one in _classes(file)}
    for file in set(compiled._sources()) - hot:
        for one in _classes(file):
            bases = {base.id for base in one.bases if isinstance(base, ast.Name)}
            assert not bases & made, f"{file.name}: {one.name}"


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _classes(file: Path) -> Iterator[ast.ClassDef]:
    return (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ClassDef))


# ── how it is made ──


def test_without_a_compiler_it_says_what_is_missing_and_makes_nothing(
    prefix: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert compiling.main() == 0
    assert "no C compiler (apt-get install gcc libc6-dev)" in capsys.readouterr().err
    assert not compiled.home().exists()


@pytest.mark.skipif(bool(compiling.missing()), reason=f"nothing can be compiled here: no {compiling.missing()}")
def test_what_fails_to_compile_leaves_nothing_and_is_told(
    prefix: Path, sources: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (sources / "gateway" / "headers.py").open("a") as file:
        file.write("\nthis is no Python\n")
    assert compiling.main() == 1
    assert "headers.py" in capsys.readouterr().err
    assert [one.name for one in compiled.home().iterdir()] == ["lock"]


def test_a_build_replaces_those_of_other_sources_and_what_a_killed_one_left(
    prefix: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiling, "missing", lambda: "")
    monkeypatch.setattr(compiling, "make", lambda build: build.mkdir())
    for left in ("0" * 32, "building-x"):
        (compiled.home() / left).mkdir(parents=True)
    assert compiling.main() == 0
    assert {one.name for one in compiled.home().iterdir()} == {"lock", compiled.fingerprint()}


def test_of_two_that_compile_at_once_one_does(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go, made = threading.Event(), threading.Event(), []

    def make(build: Path) -> None:
        made.append(build)
        begun.set()
        assert go.wait(30)
        build.mkdir()

    monkeypatch.setattr(compiling, "missing", lambda: "")
    monkeypatch.setattr(compiling, "make", make)
    both = [threading.Thread(target=compiling.main) for _ in range(2)]
    both[0].start()
    assert begun.wait(30)
    both[1].start()
    go.set()
    for one in both:
        one.join()
    assert made == [compiled.home() / compiled.fingerprint()]


def test_what_is_there_is_not_made_again(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (compiled.home() / compiled.fingerprint()).mkdir(parents=True)
    assert compiling.main() == 0
    assert capsys.readouterr() == ("", "")


# ── what it does ──


@pytest.mark.slow
@pytest.mark.skipif(bool(compiling.missing()), reason=f"nothing can be compiled here: no {compiling.missing()}")
def test_it_behaves_as_the_sources_do() -> None:
    """A build is made where there is none, in the environment itself: it is the one that serves."""
    subprocess.run([sys.executable, "-m", "sampan.serve.compiling"], check=True)
    tests = Path(__file__).parents[1] / "gateway"
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *part],
            env={**os.environ, "SAMPAN_COMPILED": "1"}, cwd=tests, stdout=subprocess.PIPE, text=True,
        )
        for part in PROVED
    ]  # fmt: skip
    told = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(one[-6000:] for one in told)

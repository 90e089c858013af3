"""The gateway's hot path, compiled: the same modules as extensions, made by `compiling`, taken where they fit.

A build lies in a directory named by a fingerprint of all that went into it. What is imported is the build of the
present sources or none: a stale one is never found. Plain Python serves where there is no build.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

import sampan
from sampan.telemetry.logs import Log

MODULES = (
    *(f"gateway.{name}" for name in (
        "body", "connection", "deadlines", "exchange", "forward", "frames", "greeting", "heads", "http2_exchange",
        "instance", "invoke", "known", "leases", "limits", "plain", "protocol", "relay", "replies", "route",
        "sessions", "story", "tracing", "upstream",
    )),
    "gateway.control",
    "gateway.reports",
    "link.journal",
    "model.names",
    "telemetry.context",
    "telemetry.outgoing",
)  # fmt: skip
"""Of `sampan`: what a warm request passes, and where a class of theirs has subclasses, those, too."""

_ROOMS = ("gateway", "link", "model", "telemetry", "wire")  # of the modules, and of all of ours that they import

log = Log("serve")


def use() -> bool:
    """Import the compiled modules, before anything of the gateway is imported; whether they are used."""
    found = build()
    if found is None:
        log.info("hot path: interpreted; run `make compile`" if _wanted() else "hot path: interpreted, as asked")
        return False
    finder = _Finder(found)
    sys.meta_path.insert(0, finder)
    before = set(sys.modules)
    try:
        for name in finder.names:
            importlib.import_module(name)
    except Exception as error:  # not the sources' own fault, or they will say so themselves
        sys.meta_path.remove(finder)
        for name in set(sys.modules) - before:
            if name.startswith("sampan"):
                del sys.modules[name]
        log.warning("hot path: interpreted; the compiled one cannot be loaded", error=error, build=found)
        return False
    log.info("hot path: compiled")
    return True


def build() -> Path | None:
    """The build that `use` takes; None: there is none, or `SAMPAN_COMPILED=0` in the environment forbids it."""
    found = home() / fingerprint()
    return found if _wanted() and found.is_dir() else None


def _wanted() -> bool:
    return os.environ.get("SAMPAN_COMPILED") != "0"


def home() -> Path:
    """Where builds are kept: with what is installed, as readable as that."""
    return Path(sys.prefix, "compiled")


def fingerprint() -> str:
    """Of the sources, of those that the compiler reads to learn types, of the compiler and of the interpreter."""
    try:
        compiler = version("mypy")
    except PackageNotFoundError:
        compiler = "none"
    digest = hashlib.sha256("\0".join((sys.version, EXTENSION_SUFFIXES[0], compiler)).encode())
    for file in _sources():
        content = file.read_bytes()
        digest.update(b"\0%b\0%d\0%b" % (str(file.relative_to(root())).encode(), len(content), content))
    return digest.hexdigest()[:32]


def root() -> Path:
    """The package's directory."""
    return Path(sampan.__path__[0])


def source(module: str) -> Path:
    """The file of one of `MODULES`."""
    return root().joinpath(*module.split(".")).with_suffix(".py")


def _sources() -> Iterator[Path]:
    package = root()
    for room in _ROOMS:
        yield from sorted((package / room).rglob("*.py"))
    yield package / "settings.py"
    yield from (package / "serve" / name for name in ("compiled.py", "compiling.py"))


class _Finder:
    """Finds the modules of a build, each in the file of its name."""

    def __init__(self, build: Path) -> None:
        self._files = {file.stem: file for file in build.glob("*.so")}
        self.names = sorted(self._files)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        file = self._files.get(name)
        if file is None:
            return None
        return spec_from_file_location(name, file, loader=ExtensionFileLoader(name, str(file)))

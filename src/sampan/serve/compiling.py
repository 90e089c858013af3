"""Compiles the gateway's hot path with mypyc, once per state of its sources: `python -m sampan.serve.compiling`.

Exit code 0: it is compiled, or cannot be here, and then a line says what is missing; 1: a compiler failed.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from sampan.serve import compiled

_UNDERWAY = "building-"
_GROUP = "sampan_gateway"
_SAID = 4000  # characters of what a compiler said that are shown

# A process of its own, since setuptools answers to the command line and changes what it runs in. `gcc -O1` without
# debug symbols: of the gateway's own time for a request -O0 takes 23 µs, -O1 12.9, -O2 13.6, -O3 12.8 (the sources:
# 20.3), and -O3 takes twice as long to compile.
_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup
at, group, *sources = sys.argv[1:]
checks = ["--config-file=", "--cache-dir=" + at + "/cache", "--strict", "--ignore-missing-imports",
          "--follow-imports=silent", "--explicit-package-bases"]
extensions = mypycify(
    [*checks, *sources], opt_level="1", debug_level="0", group_name=group, target_dir=at + "/c"
)
setup(name=group, packages=[], ext_modules=extensions, script_args=[
    "--quiet", "build_ext", "--build-lib", at + "/lib", "--build-temp", at + "/objects"])
"""


def main() -> int:
    home = compiled.home()
    build = home / compiled.fingerprint()
    if build.is_dir():
        return 0
    if lacking := missing():
        say(f"the gateway's hot path stays interpreted (half again as slow): no {lacking}")
        return 0
    home.mkdir(exist_ok=True)
    with _alone(home):
        if not build.is_dir():  # another may have made it meanwhile
            say("compiling the gateway's hot path (about half a minute)")
            if (said := make(build)) is not None:
                say(f"compiling failed, the gateway's hot path stays interpreted:\n{said[-_SAID:]}")
                return 1
        for other in home.iterdir():
            if other.is_dir() and other != build:  # of other sources, or left by one that was killed
                shutil.rmtree(other, ignore_errors=True)
    return 0


def missing() -> str:
    """What compiling needs and is not here; empty: nothing."""
    for module in ("mypyc", "setuptools"):
        if find_spec(module) is None:
            return f"{module} (pip install --group compile)"
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        return "C compiler (apt-get install gcc libc6-dev)"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python.h (apt-get install python3-dev)"
    home = compiled.home()
    if not os.access(home if home.exists() else home.parent, os.W_OK):
        return f"right to write to {home}"
    return ""


def make(build: Path) -> str | None:
    """The build, there as a whole or not at all; what went wrong, if anything did."""
    with tempfile.TemporaryDirectory(prefix=_UNDERWAY, dir=build.parent) as made:
        at = Path(made)
        sources = [str(compiled.source(module)) for module in compiled.MODULES]
        done = subprocess.run(
            [sys.executable, "-c", _BUILD, str(at), _GROUP, *sources],
            env={**os.environ, "MYPYPATH": str(compiled.root().parent)},
            cwd=at,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            return done.stdout
        whole = at / "whole"
        whole.mkdir()
        for file in (at / "lib").rglob("*.so"):
            name, _, _ = str(file.relative_to(at / "lib")).replace(os.sep, ".").partition(".cpython-")
            file.rename(whole / f"{name}.so")
        whole.rename(build)
    return None


@contextlib.contextmanager
def _alone(home: Path) -> Iterator[None]:
    """One at a time; the lock of one that was killed is free."""
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def say(line: str) -> None:
    print(f"setup: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())

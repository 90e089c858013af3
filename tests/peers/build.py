"""Build the back-ends: `python -m tests.peers.build [otelcol] [jaeger]`; all of them if none is named.

    otelcol   the OpenTelemetry Collector's OTLP receiver: a minute of one core, built when a test needs it
    jaeger    Jaeger's all-in-one: five minutes of one core, so only built when asked for

What is built lies in /var/cache/sampan/peers (~/.cache/sampan/peers without root), named by its recipe.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = {"otelcol": ".", "jaeger": "github.com/jaegertracing/jaeger/cmd/all-in-one"}
_PATIENCE = 480.0  # seconds for a build
_GO = Path("/usr/local/go/bin/go")


class NotBuilt(Exception):
    """A back-end is not there; says why, and what to do."""


def cache() -> Path:
    root = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
    return root / "sampan" / "peers"


def program(name: str) -> Path:
    """Where it is, or will be. A changed recipe makes another."""
    recipe = b"".join(path.read_bytes() for path in sorted((HERE / name).iterdir()))
    return cache() / f"{name}-{hashlib.sha256(recipe).hexdigest()[:12]}"


def build(name: str) -> Path:
    """The program, built unless it is there. Raises: NotBuilt."""
    found = program(name)
    if found.exists():
        return found
    go = shutil.which("go") or (str(_GO) if _GO.exists() else None)
    if go is None:
        raise NotBuilt(f"{name} is not built, and there is no Go to build it with")
    found.parent.mkdir(parents=True, exist_ok=True)
    partly = found.with_suffix(f".{os.getpid()}")
    command = [
        "nice",
        "-n",
        "10",
        go,
        "build",
        "-mod=readonly",
        "-buildvcs=false",
        "-o",
        str(partly),
        PACKAGES[name],
    ]
    try:
        subprocess.run(command, cwd=HERE / name, check=True, capture_output=True, text=True, timeout=_PATIENCE)
    except subprocess.TimeoutExpired as error:
        raise NotBuilt(f"{name} was not built within {_PATIENCE:g} s; run: python -m tests.peers.build") from error
    except subprocess.CalledProcessError as error:
        raise NotBuilt(f"{name} could not be built: {error.stderr.strip()[-300:]}") from error
    partly.rename(found)
    return found


def main(names: list[str]) -> None:
    for name in names or list(PACKAGES):
        print(f"{name}: {build(name)}")


if __name__ == "__main__":
    main(sys.argv[1:])

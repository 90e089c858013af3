"""The images that tests and benchmarks run, built on demand from the directories beside this file.

`static`: the smallest web server there can be. `python`: `http.server` on Debian's Python. `misbehave`: does to
the platform whatever a request, its arguments or its environment tell it; its source lists the ways. `traced`:
reports spans with Jaeger's and OpenTelemetry's clients and calls the next function, with our SDK in it. `flask`:
does so as a Flask application, which `opentelemetry-instrument` may run. The example images (`nginx`,
`hello-python`, `hello-python-v2`) can be asked for by name too.

Building needs root, buildah, mmdebstrap and gcc, which `make setup` installs.
"""

import hashlib
from pathlib import Path

from examples import images

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src" / "sampan"


def _sdk() -> str:
    """Hash of what `traced` has of this tree."""
    rooms = ("sdk", "wire", "model")
    files = [SOURCE / "__init__.py", *(path for room in rooms for path in (SOURCE / room).rglob("*.py"))]
    hasher = hashlib.sha256()
    for path in sorted(files):
        hasher.update(f"{path.relative_to(SOURCE)}\0".encode() + path.read_bytes())
    return hasher.hexdigest()[:16]


PACKAGES = images.Recipe("traced-packages", HERE / "traced-packages", base=images.PYTHON)
FLASK = images.Recipe("flask-packages", HERE / "flask-packages", base=images.PYTHON)
RECIPES = images.RECIPES | {
    "static": images.Recipe("static", HERE / "static"),
    "misbehave": images.Recipe("misbehave", HERE / "misbehave"),
    "python": images.Recipe("python", HERE / "python", base=images.PYTHON),
    "traced": images.Recipe("traced", HERE / "traced", base=PACKAGES, arguments={"SDK": _sdk()}),
    "flask": images.Recipe("flask", HERE / "flask", base=FLASK, arguments={"SDK": _sdk()}),
}


def archive(name: str) -> Path:
    """The OCI archive (a tar file) of image `name`; built once, then found in the cache. Raises: BuildFailed."""
    return images.build(RECIPES[name])

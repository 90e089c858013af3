"""The images that tests and benchmarks run, built on demand from the directories beside this file.

`static`: the smallest web server there can be. `python`: `http.server` on Debian's Python. `misbehave`: does to
the platform whatever a request, its arguments or its environment tell it; its source lists the ways. The example
images (`nginx`, `hello-python`, `hello-python-v2`) can be asked for by name too.

Building needs root, buildah, mmdebstrap and gcc, which `make setup` installs.
"""

from pathlib import Path

from examples import images

HERE = Path(__file__).parent
RECIPES = images.RECIPES | {
    "static": images.Recipe("static", HERE / "static"),
    "misbehave": images.Recipe("misbehave", HERE / "misbehave"),
    "python": images.Recipe("python", HERE / "python", base=images.PYTHON),
}


def archive(name: str) -> Path:
    """The OCI archive (a tar file) of image `name`; built once, then found in the cache. Raises: BuildFailed."""
    return images.build(RECIPES[name])

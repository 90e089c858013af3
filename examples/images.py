"""Builds the example images, and those of the tests, from Debian packages; no registry is asked.

An image is a directory: a Containerfile, and, where the build needs something that is not a file of the
directory (a root file system, a compiled program), an executable `prepare` that puts it into the build context,
a copy of the directory given as its first argument. buildah makes the image, in a store of its own.

The result is an OCI archive in the cache, under a name made of the hash of all that went into it, so that the
second call only looks it up. On the command line: `python -m examples.images [NAME…]` prints the archives' paths.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
DEADLINE = 300.0
"""Seconds for one command. The slowest, mmdebstrap on a cold package cache, takes 3 to 20 s."""


@dataclass(frozen=True)
class Recipe:
    """One image: `name:tag`, the directory it is made from, and what its Containerfile is told."""

    name: str
    directory: Path
    tag: str = "latest"
    base: "Recipe | None" = None
    arguments: Mapping[str, str] = field(default_factory=dict)

    def key(self) -> str:
        """Hash of everything the image is made from."""
        hasher = hashlib.sha256(f"{self.name}:{self.tag}{sorted(self.arguments.items())}".encode())
        hasher.update(self.base.key().encode() if self.base else b"")
        for file in sorted(path for path in self.directory.iterdir() if path.is_file()):
            hasher.update(f"{file.name}\0".encode() + file.read_bytes())
        return hasher.hexdigest()[:16]


PYTHON = Recipe("debian-python", HERE / "debian-python")
RECIPES = {
    "nginx": Recipe("nginx", HERE / "nginx"),
    "hello-python": Recipe("hello-python", HERE / "hello-python", "v1", PYTHON, {"VERSION": "v1"}),
    "hello-python-v2": Recipe("hello-python", HERE / "hello-python", "v2", PYTHON, {"VERSION": "v2"}),
}


class BuildFailed(Exception):
    """A command that makes an image failed; carries what it printed."""


def archive(name: str) -> Path:
    """The OCI archive of the example image `name`, built when the cache lacks it. Raises: BuildFailed."""
    return build(RECIPES[name])


def build(recipe: Recipe) -> Path:
    """The OCI archive of `recipe`; processes that want the same one wait for the first. Raises: BuildFailed."""
    result = cache() / f"{recipe.name}-{recipe.tag}-{recipe.key()}.oci.tar"
    if result.exists():
        return result
    base = build(recipe.base) if recipe.base else None
    with lock(cache() / f"{recipe.name}-{recipe.tag}.lock"):
        if not result.exists():
            with scratch_directory() as scratch:
                make(recipe, base, scratch).rename(result)
            for old in cache().glob(f"{recipe.name}-{recipe.tag}-*.oci.tar"):
                if old != result:
                    old.unlink()
    return result


def make(recipe: Recipe, base: Path | None, scratch: Path) -> Path:
    """Builds `recipe` in the empty directory `scratch`. Raises: BuildFailed."""
    context, made, reference = scratch / "context", scratch / "image.tar", f"localhost/{recipe.name}:{recipe.tag}"
    shutil.copytree(recipe.directory, context)
    if (context / "prepare").exists():
        run(str(context / "prepare"), str(context))
    # A store of its own, thrown away with `scratch`: the user's buildah never sees these builds.
    store = ("--root", f"{scratch}/store", "--runroot", f"{scratch}/run", "--storage-driver", driver(scratch))
    given = dict(recipe.arguments) | ({"BASE": f"oci-archive:{base}"} if base else {})
    run(
        "buildah", *store, "bud", "--quiet", "--isolation", "chroot", "--layers", "--timestamp", "0",
        *(f"--build-arg={name}={value}" for name, value in given.items()),
        "--tag", reference, "--file", f"{context}/Containerfile", str(context),
    )  # fmt: skip
    run("buildah", *store, "push", "--quiet", reference, f"oci-archive:{made}:{recipe.name}:{recipe.tag}")
    return made


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, also when buildah failed and left its layers mounted in it."""
    with tempfile.TemporaryDirectory(prefix="build-", dir=cache()) as name:
        try:
            yield Path(name)
        finally:
            below = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
            for mount in sorted((each for each in below if each.startswith(f"{name}/")), reverse=True):
                run("umount", mount)


def driver(directory: Path) -> str:
    """overlay, or, where that cannot be stacked (inside a container), vfs, which is slower."""
    return "vfs" if "overlay" in run("stat", "--file-system", "--format=%T", str(directory)) else "overlay"


def run(*command: str) -> str:
    """Runs `command` to its end; its standard output. Raises: BuildFailed."""
    environment = {**os.environ, "PYTHON": sys.executable}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=DEADLINE, env=environment,
            errors="replace", check=False,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise BuildFailed(f"{command[0]} is missing; `make setup` installs it") from error
    except subprocess.TimeoutExpired as error:
        raise BuildFailed(f"{command[0]} took longer than {DEADLINE:.0f} s") from error
    if done.returncode:
        raise BuildFailed(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def cache() -> Path:
    """Where archives are kept: the machine's cache for root, the user's own otherwise."""
    home = Path.home() / ".cache"
    top = "/var/cache" if os.geteuid() == 0 else os.environ.get("XDG_CACHE_HOME") or str(home)
    directory = Path(top) / "sampan" / "images"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on `path`, between processes as between threads."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> int:
    try:
        for name in names or RECIPES:
            print(f"{name}\t{archive(name)}")
    except KeyError as error:
        print(f"no image {error}; there are {', '.join(RECIPES)}", file=sys.stderr)
        return 2
    except BuildFailed as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

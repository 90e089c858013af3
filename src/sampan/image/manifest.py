"""Manifests, indexes and configs: from a registry's bytes to what the platform needs.

Source: OCI image-spec 1.1 (manifest.md, image-index.md, config.md), docker image manifest version 2, schema 2.
"""

import hashlib
import platform as machine
from typing import TypeVar

import msgspec

from sampan.image.reference import is_digest
from sampan.model.errors import FailureKind, ImageFailed
from sampan.model.image import ImageConfig

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

MANIFESTS = frozenset((OCI_MANIFEST, DOCKER_MANIFEST))
INDEXES = frozenset((OCI_INDEX, DOCKER_INDEX))
CONFIGS = frozenset((OCI_CONFIG, DOCKER_CONFIG))
LAYERS = frozenset(
    (
        OCI_LAYER,
        f"{OCI_LAYER}+gzip",
        f"{OCI_LAYER}+zstd",
        DOCKER_LAYER,
        f"{DOCKER_LAYER}.gzip",
        f"{DOCKER_LAYER}.zstd",
    )
)
ACCEPT = ", ".join((OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_INDEX))
LARGEST = 4 << 20  # bytes of a manifest or config; registries refuse larger manifests too

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}  # uname → GOARCH

T = TypeVar("T")


class Platform(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Points at a blob."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None


class Manifest(msgspec.Struct, frozen=True, rename="camel"):
    config: Descriptor
    layers: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = OCI_MANIFEST


class Index(msgspec.Struct, frozen=True, rename="camel"):
    manifests: tuple[Descriptor, ...]
    schema_version: int = 2
    media_type: str = OCI_INDEX


class _Head(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int = 0
    media_type: str = ""
    manifests: list[msgspec.Raw] | None = None


class _Run(msgspec.Struct, frozen=True, rename="pascal"):
    """The member `config` of an image config."""

    entrypoint: tuple[str, ...] | None = None
    cmd: tuple[str, ...] | None = None
    env: tuple[str, ...] | None = None
    working_dir: str | None = None
    user: str | None = None
    exposed_ports: dict[str, msgspec.Raw] | None = None
    stop_signal: str | None = None


class _RootFs(msgspec.Struct, frozen=True):
    diff_ids: tuple[str, ...] = ()


class Config(msgspec.Struct, frozen=True):
    """An image config, as far as it matters here."""

    architecture: str = ""
    os: str = ""
    variant: str = ""
    config: _Run | None = None
    rootfs: _RootFs = _RootFs()


def host_platform() -> Platform:
    """What this machine can run."""
    return Platform(_ARCHITECTURES.get(machine.machine(), machine.machine()), "linux")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_manifest(body: bytes, media_type: str = "") -> Manifest | Index:
    """What a registry answered; `media_type` is its Content-Type, which the body's own `mediaType` overrules.

    Raises: ImageFailed (IMAGE_INVALID).
    """
    head = _read(body, _Head, "manifest")
    kind = head.media_type or media_type.partition(";")[0].strip()
    if head.schema_version != 2:
        raise invalid(
            f"its manifest has schema version {head.schema_version}; build and push it again with a current tool"
        )
    if kind in INDEXES or (kind not in MANIFESTS and head.manifests is not None):
        index = _read(body, Index, "index")
        _check_descriptors(index.manifests)
        return index
    manifest = _read(body, Manifest, "manifest")
    _check_descriptors((manifest.config, *manifest.layers))
    if manifest.config.media_type not in CONFIGS:
        raise invalid(f"it is not a container image but '{manifest.config.media_type}'")
    for layer in manifest.layers:
        if layer.media_type not in LAYERS:
            raise invalid(f"its layer {layer.digest} is of type '{layer.media_type}', which cannot be unpacked")
    return manifest


def choose(index: Index, wanted: Platform, name: str) -> Descriptor:
    """The index's manifest for `wanted`; a lone manifest that names no platform is taken at its word.

    Raises: ImageFailed (IMAGE_WRONG_PLATFORM), naming what exists.
    """
    fitting = [entry for entry in index.manifests if entry.platform is not None and _fits(entry.platform, wanted)]
    if fitting:
        return min(fitting, key=lambda entry: entry.platform.variant if entry.platform else "")
    if len(index.manifests) == 1 and index.manifests[0].platform is None:
        return index.manifests[0]
    raise wrong_platform(name, wanted, [str(entry.platform) for entry in index.manifests if entry.platform])


def read_config(body: bytes) -> Config:
    """Raises: ImageFailed (IMAGE_INVALID)."""
    return _read(body, Config, "config")


def check_platform(config: Config, wanted: Platform, name: str) -> None:
    """A config that names no platform is taken at its word. Raises: ImageFailed (IMAGE_WRONG_PLATFORM)."""
    given = Platform(config.architecture or wanted.architecture, config.os or wanted.os, config.variant)
    if not _fits(given, wanted):
        raise wrong_platform(name, wanted, [str(given)])


def image_config(config: Config) -> ImageConfig:
    """How the image wants to be run."""
    run = config.config or _Run()
    return ImageConfig(
        architecture=config.architecture or "amd64",
        os=config.os or "linux",
        entrypoint=run.entrypoint or (),
        command=run.cmd or (),
        environment=run.env or (),
        working_directory=run.working_dir or "/",
        user=run.user or "",
        exposed_ports=_tcp_ports(run.exposed_ports or {}),
        stop_signal=run.stop_signal or "SIGTERM",
    )


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The id of each layer together with all below it. Source: OCI image-spec, config.md, Layer ChainID."""
    chain: list[str] = []
    for diff in diff_ids:
        chain.append(digest_of(f"{chain[-1]} {diff}".encode()) if chain else diff)
    return tuple(chain)


def invalid(why: str) -> ImageFailed:
    return ImageFailed(FailureKind.IMAGE_INVALID, f"the image cannot be used: {why}")


def wrong_platform(name: str, wanted: Platform, given: list[str]) -> ImageFailed:
    there = ", ".join(dict.fromkeys(entry for entry in given if "unknown" not in entry)) or "no platform at all"
    return ImageFailed(
        FailureKind.IMAGE_WRONG_PLATFORM,
        f"image {name} is built for {there}, but this machine is {wanted}; build it with --platform {wanted}",
    )


def _fits(given: Platform, wanted: Platform) -> bool:
    if (given.os, given.architecture) != (wanted.os, wanted.architecture):
        return False
    # An x86-64 micro-architecture level (v2, v3 …) may be more than the machine has; plain arm64 is v8.
    return given.variant in {"", wanted.variant, "v1", "v8"} or given.architecture == "arm"


def _tcp_ports(exposed: dict[str, msgspec.Raw]) -> tuple[int, ...]:
    """Keys are "port", "port/tcp" or "port/udp"; ranges and other protocols do not matter to a function."""
    ports = [port for port, _, protocol in (key.partition("/") for key in exposed) if protocol in {"", "tcp"}]
    return tuple(
        sorted({int(port) for port in ports if port.isascii() and port.isdigit() and 0 < int(port) < 65536})
    )


def _check_descriptors(descriptors: tuple[Descriptor, ...]) -> None:
    for entry in descriptors:
        if not is_digest(entry.digest) or entry.size < 0:
            raise invalid(
                f"it names a blob by '{entry.digest}' with {entry.size} bytes; only sha256 digests are known"
            )


def _read(body: bytes, shape: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise invalid(f"its {what} cannot be read ({error})") from error

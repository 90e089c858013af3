"""An image as the platform knows it once its name has been resolved."""

from typing import ClassVar

import msgspec

from sampan.model.secret import Guarded


class ImageConfig(msgspec.Struct, frozen=True):
    """What the image's author wrote down about running it. Source: OCI image-spec, config.md."""

    architecture: str = "amd64"
    os: str = "linux"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()  # "NAME=value"
    working_directory: str = "/"
    user: str = ""
    exposed_ports: tuple[int, ...] = ()  # TCP ports, ascending
    stop_signal: str = "SIGTERM"


class Image(msgspec.Struct, frozen=True):
    """An image that has been pulled: pinned by digest, its config read."""

    reference: str  # as the user wrote it, e.g. "nginx:1.27"
    digest: str  # of the platform's manifest, "sha256:…"
    config: ImageConfig
    size: int = 0  # bytes, compressed, all layers
    warnings: tuple[str, ...] = ()  # e.g. Python modules without .pyc files; shown at deploy


class PullProgress(msgspec.Struct, frozen=True):
    """How far one layer has come."""

    layer: str  # digest
    done: int  # bytes
    total: int  # bytes
    stage: str  # "waiting" | "downloading" | "unpacking" | "uploading" | "done"


class RegistryAuth(Guarded, frozen=True):
    """How to log in to a registry, and how far to trust it."""

    _hidden: ClassVar[tuple[str, ...]] = ("password",)
    username: str = ""
    password: str = ""
    insecure: bool = False  # plain http, or TLS that cannot be verified
    ca_pem: str = ""

"""Image names as people write them, and what they mean.

nginx                      docker.io/library/nginx:latest
user/app:2                 docker.io/user/app:2
localhost:5000/web         localhost:5000/web:latest
host/x:1@sha256:…          the digest decides, the tag is for people
"""

import re

import msgspec

from sampan.model.errors import InvalidArgument

DEFAULT_REGISTRY = "docker.io"
API_HOSTS = {DEFAULT_REGISTRY: "registry-1.docker.io"}  # the one registry whose API is not at its own name
OFFICIAL = "library"  # namespace of names without one in the default registry

_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
    r"|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
)
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_HEX = re.compile(r"[0-9a-f]{64}")
_LONGEST = 255  # characters of registry and repository together


class Reference(msgspec.Struct, frozen=True):
    """A complete image name. Source: distribution's reference grammar; the defaults are docker's."""

    registry: str  # host, with port if any
    repository: str
    tag: str = ""  # empty only beside a digest
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Raises: InvalidArgument."""
        rest, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise _bad(text, "a digest of the form sha256:<64 hex digits> after '@'")
        registry, path = _split(rest)
        repository, colon, tag = path.partition(":")
        if colon and not _TAG.fullmatch(tag):
            raise _bad(text, "a tag of at most 128 letters, digits, '_', '.' and '-'")
        if not _HOST.fullmatch(registry):
            raise _bad(text, "a registry host such as localhost:5000 before the first '/'")
        if not _REPOSITORY.fullmatch(repository):
            raise _bad(text, "a name of lower-case letters and digits, separated by '/', '.', '_' or '-'")
        if registry == DEFAULT_REGISTRY and "/" not in repository:
            if _HEX.fullmatch(repository):
                raise _bad(text, "a name; this looks like an image id, which no registry knows")
            repository = f"{OFFICIAL}/{repository}"
        if len(registry) + 1 + len(repository) > _LONGEST:
            raise _bad(text, f"a name of at most {_LONGEST} characters")
        return cls(registry, repository, tag or ("" if digest else "latest"), digest)

    @property
    def api_host(self) -> str:
        """Where the registry's API answers."""
        return API_HOSTS.get(self.registry, self.registry)

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest if there is one, else the tag."""
        return self.digest or self.tag

    def pinned(self, digest: str) -> "Reference":
        """The same name, this digest."""
        return Reference(self.registry, self.repository, self.tag, digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def _split(name: str) -> tuple[str, str]:
    """Registry and the rest: the first part is a host only if it looks like one."""
    first, slash, rest = name.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not looks_like_host:
        return DEFAULT_REGISTRY, name
    return (DEFAULT_REGISTRY if first == f"index.{DEFAULT_REGISTRY}" else first), rest


def _bad(text: str, allowed: str) -> InvalidArgument:
    return InvalidArgument("image", text, allowed)

"""Who a sandbox's program runs as: the image's own user files, read without leaving the image."""

import os

import msgspec

from sampan.engine.node import kernel
from sampan.model.errors import Failure, FailureKind, StartFailed

_FILE_LIMIT = 1 << 20  # bytes of a user file that are read


class User(msgspec.Struct, frozen=True):
    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # additional


def resolve(root: int, user: str) -> User:
    """`user` as an image config writes it: "", "name", "uid", "uid:gid", "name:group".

    root: open directory of the image's file system. Raises: StartFailed (IMAGE_INVALID) when a name is unknown.
    Source: OCI image-spec, config.md, `User`.
    """
    name, _, group = user.partition(":")
    passwd = _entries(root, "etc/passwd", 4)
    entry = next((e for e in passwd if name and (e[0] == name or e[2] == name)), None)
    if entry is None and name and not name.isdecimal():
        raise _unknown("user", name)
    uid = int(entry[2]) if entry else int(name or 0)
    groups = _entries(root, "etc/group", 3)
    if group:
        return User(uid, _group(groups, group))
    gid = int(entry[3]) if entry else 0
    member = entry[0] if entry else ""
    more = {int(g[2]) for g in groups if member and len(g) > 3 and member in g[3].split(",")}
    return User(uid, gid, tuple(sorted(more - {gid})))


def _group(groups: list[list[str]], group: str) -> int:
    for entry in groups:
        if entry[0] == group:
            return int(entry[2])
    if not group.isdecimal():
        raise _unknown("group", group)
    return int(group)


def _entries(root: int, path: str, fields: int) -> list[list[str]]:
    """The well-formed lines of a user file, split; [] where the image has none."""
    try:
        descriptor = kernel.open_in_root(root, path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return []
    try:
        text = os.read(descriptor, _FILE_LIMIT).decode("utf-8", "replace")
    except OSError:
        return []
    finally:
        os.close(descriptor)
    lines = (line.split(":") for line in text.splitlines())
    return [line for line in lines if len(line) >= fields and all(n.isdecimal() for n in line[2:fields])]


def _unknown(what: str, name: str) -> StartFailed:
    return StartFailed(Failure(FailureKind.IMAGE_INVALID, f"the image has no {what} '{name}'"))

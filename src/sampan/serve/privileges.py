"""Becoming nobody in particular, and not outliving one's parent."""

import ctypes
import os
import pwd
import signal
import subprocess

PR_SET_PDEATHSIG = 1  # prctl(2)
PR_SET_NO_NEW_PRIVS = 38


class NoSuchUser(Exception):
    """There is no such unprivileged user, and none can be made."""


def ensure_user(name: str) -> tuple[int, int]:
    """The user's uid and gid; a system user is made when there is none. Raises: NoSuchUser."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        made = subprocess.run(
            ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", name],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise NoSuchUser(f"cannot make the user {name!r}: {made.stderr.strip()}") from None
        entry = pwd.getpwnam(name)
    if entry.pw_uid == 0:
        raise NoSuchUser(f"platform.user is {name!r}, which is root; name an unprivileged user")
    return entry.pw_uid, entry.pw_gid


def drop(uid: int, gid: int) -> None:
    """Give up root for good."""
    os.setgroups([gid])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    os.umask(0o077)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def die_with_parent(parent: int) -> None:
    """SIGTERM when the parent ends, however it ends. Lost on a change of user, so call it after `drop`.

    parent: its pid. One that ended before we could ask for the signal sends none, so that is looked for.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")

"""The few system calls this room needs that Python 3.11 does not have. Each raises OSError with errno set."""

import array
import ctypes
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_REMOUNT = 0x20
MS_NOATIME = 0x400
MS_REC = 0x4000
MS_SLAVE = 1 << 19
MNT_DETACH = 0x2
CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000
PR_SET_CHILD_SUBREAPER = 36
RESOLVE_IN_ROOT = 0x10
FALLOC_FL_KEEP_SIZE = 0x1
FALLOC_FL_PUNCH_HOLE = 0x2
IN_MODIFY = 0x2
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LO_FLAGS_AUTOCLEAR = 0x4
PIDFD_GET_INFO = (3 << 30) | (64 << 16) | (0xFF << 8) | 11
PIDFD_INFO_EXIT = 1 << 3
_SYS_OPENAT2 = 437

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_libc.inotify_add_watch.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_uint32]
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return result


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    arguments = (source.encode(), target.encode(), kind.encode(), flags, options.encode())
    _check(_libc.mount(*arguments), target)


def unmount(target: str) -> None:
    """Take it out of this mount namespace at once; it lives on where it is still in use."""
    _check(_libc.umount2(target.encode(), MNT_DETACH), target)


def unshare(flags: int) -> None:
    """For the calling thread."""
    _check(_libc.unshare(flags), "unshare")


def set_namespace(fd: int, kind: int) -> None:
    """For the calling thread."""
    _check(_libc.setns(fd, kind), "setns")


def become_subreaper() -> None:
    """Orphans below this process become its children, so that it learns how they ended."""
    _check(_libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), "prctl")


def open_in_root(root: int, path: str, flags: int = os.O_RDONLY) -> int:
    """Open `path` as seen by a process whose root directory is `root`: no symlink leads out of it."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_IN_ROOT)
    arguments = (ctypes.c_long(root), path.encode(), how, ctypes.c_long(len(how)))
    return _check(_libc.syscall(ctypes.c_long(_SYS_OPENAT2), *arguments), path)


def punch_hole(fd: int, begin: int, length: int) -> None:
    """Give back the blocks of a stretch of a file; positions after it do not move."""
    _check(_libc.fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, begin, length), "fallocate")


def new_inotify() -> int:
    return _check(_libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK), "inotify_init1")


def watch_writes(inotify: int, path: str) -> int:
    return _check(_libc.inotify_add_watch(inotify, path.encode(), IN_MODIFY), path)


def unwatch(inotify: int, watch: int) -> None:
    _check(_libc.inotify_rm_watch(inotify, watch), "inotify_rm_watch")


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that was another's child; None: not known (yet).

    Known from Linux 6.15, once its parent has reaped it, if `pidfd` was opened before its end.
    Source: include/uapi/linux/pidfd.h, struct pidfd_info.
    """
    info = array.array("B", struct.pack("=Q", PIDFD_INFO_EXIT) + bytes(56))
    try:
        fcntl.ioctl(pidfd, PIDFD_GET_INFO, info, True)
    except OSError:
        return None
    mask: int = struct.unpack_from("=Q", info)[0]
    status: int = struct.unpack_from("=i", info, 60)[0]
    return status if mask & PIDFD_INFO_EXIT else None


@contextmanager
def loop_device(image: int) -> Iterator[str]:
    """The path of a loop device on the open file `image`; it detaches itself after the last unmount or close.

    Source: include/uapi/linux/loop.h, struct loop_config.
    """
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        device = _attach(control, image)
    finally:
        os.close(control)
    try:
        yield f"/dev/loop{os.minor(os.fstat(device).st_rdev)}"
    finally:
        os.close(device)


def _attach(control: int, image: int) -> int:
    config = struct.pack("=II 40x IIII 176x 64x", image, 0, 0, 0, 0, LO_FLAGS_AUTOCLEAR)
    for attempt in range(64):
        number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        device = os.open(f"/dev/loop{number}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, LOOP_CONFIGURE, config)
        except OSError:  # another process took this one first
            os.close(device)
            if attempt == 63:
                raise
        else:
            return device
    raise AssertionError("unreachable")

"""A timer finer than an event loop's whole milliseconds. Source: timerfd_create(2)."""

import ctypes
import os
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.timerfd_settime.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
_MONOTONIC = 1


def new_timer() -> int:
    """A descriptor that is readable when it fires."""
    descriptor: int = _libc.timerfd_create(_MONOTONIC, os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "timerfd_create")
    return descriptor


def set_timer(fd: int, seconds: float) -> None:
    """Fire once, `seconds` from now."""
    whole = int(seconds)
    value = struct.pack("=qqqq", 0, 0, whole, max(1, int((seconds - whole) * 1e9)))
    if _libc.timerfd_settime(fd, 0, value, None) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "timerfd_settime")

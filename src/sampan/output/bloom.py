"""Which requests a block may hold, in ten bits each: one in about a hundred answers "maybe" is wrong, no "no" is.

Source: Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970. Names are hashed with blake2b: a
function may print frames with any name it likes.
"""

import hashlib
from collections.abc import Sequence

_BITS, _HASHES = 10, 7
_MOST = 4096  # bytes; fuller filters only answer "maybe" more often


def make(names: Sequence[str]) -> bytes:
    """Empty for none."""
    if not names:
        return b""
    held = bytearray(min(_MOST, len(names) * _BITS // 8 + 1))
    for name in names:
        for bit in _bits(name, len(held) * 8):
            held[bit >> 3] |= 1 << (bit & 7)
    return bytes(held)


def may_hold(held: bytes, name: str) -> bool:
    return bool(held) and all(held[bit >> 3] >> (bit & 7) & 1 for bit in _bits(name, len(held) * 8))


def _bits(name: str, size: int) -> list[int]:
    digest = hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=4 * _HASHES).digest()
    return [int.from_bytes(digest[at : at + 4], "little") % size for at in range(0, len(digest), 4)]

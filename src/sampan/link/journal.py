"""Records of invocations that nobody has confirmed yet, in memory that outlives the process.

A gateway that is killed loses no record it has made: they lie in a file mapped into memory, and the collector finds
the file (`leftovers`). Writing one costs an encoding, which a report needs anyway, and two copies into the mapping;
no system call. The file belongs on a tmpfs: on a disk, writing to the mapping waits whenever the page is being
written back.

The file holds two regions of which one is in use. An entry is `length, number, bytes`; its head is written after
its bytes and its number last, so that an entry is there as a whole or not at all. Numbers count up by one, so the
entries end where the next number is another: after the last one there may be older ones of a former round. When all
is confirmed, writing starts over. When a region is full, what is not confirmed is copied to the other one, and then
a single byte says that it counts: whenever the process is killed, one region is whole. What finds no room is the
oldest, and is counted; the collector sees the gap in the numbers.

To MessagePack a head is a value of its own (bin 8, 14 bytes), so entries are sent as they lie here, however many.

It guards against the death of the process. A machine that loses its power loses what was not confirmed.
"""

import fcntl
import mmap
import os
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from sampan.model.invocation import InvocationRecord

REGION = 48 << 20  # bytes; some 200,000 records: a busy gateway's for the seconds a collector takes to come back
STEP = 2 << 20  # bytes of a region that are had from the file system at once, so that writing never fails
_FRONT = 4096  # bytes before the first region
_MAGIC = b"sampan journal 2"
_LIFE, _LIFE_SIZE, _IN_USE = 16, 32, 48  # where in the front
_HEAD = struct.Struct("=BBxxIQ")  # all of it is zeroed before the fields are written, the number last
_BIN_8: Final = 0xC4
_BIN_SIZE: Final = _HEAD.size - 2  # what follows the type and this size itself
_HEADS: Final = _HEAD.size
_write_head: Final = _HEAD.pack_into
_read_head: Final = _HEAD.unpack_from
SUFFIX, _UNFINISHED = ".journal", ".new"

_encode: Final = msgspec.msgpack.Encoder().encode


class Journal:
    """The records of one life, numbered from 1."""

    def __init__(self, life: str, file: Path | None, region: int = REGION, step: int = STEP) -> None:
        """life: 32 characters of ASCII.  file: to be made; None: ordinary memory.  Raises: OSError."""
        self.life, self._file = life, file
        self._region, self._step = region, step
        size = _FRONT + 2 * region
        self._fd = -1 if file is None else _made(file, size)
        self._had = [0, 0]  # bytes of each region that the file system has given us
        self._memory = mmap.mmap(self._fd, size)
        self.number = 0  # of the newest record
        self.kept = 0  # confirmed up to this one
        self.lost = 0  # records there was no room for
        self._marks: deque[tuple[int, int]] = deque()  # (number, place) of some entries, oldest first
        self._in_use = self._at = self._begin = self._limit = 0
        self._first = 1  # number of the region's first entry
        self._start(0)
        self._memory[_LIFE : _LIFE + _LIFE_SIZE] = life.encode().ljust(_LIFE_SIZE, b"\0")[:_LIFE_SIZE]
        self._memory[: len(_MAGIC)] = _MAGIC
        if file is not None:
            # not before it is locked: who finds it must not take it for a dead one's
            _unfinished(file).rename(file)

    def add(self, record: InvocationRecord) -> None:
        """Keep a record until it is confirmed."""
        body = _encode(record)
        length, at = len(body), self._at
        end = at + _HEADS + length
        if end > self._limit:
            if not self._make_room(_HEADS + length):
                self.lost += 1
                return
            at = self._at
            end = at + _HEADS + length
        memory = self._memory
        self.number = number = self.number + 1
        memory[at + _HEADS : end] = body
        _write_head(memory, at, _BIN_8, _BIN_SIZE, length, number)
        self._at = end

    def take(self, after: int, most: int) -> tuple[int, int, bytes]:
        """Entries behind number `after`, oldest first, about `most` bytes: the first one's number, how many, all.

        The first one is not `after + 1` where there was no room for those between.
        """
        number, at = self._seek(after)
        self._mark(number, at)
        count, end = self.number - number + 1, self._at
        if end - at > most:
            count, end = 0, at
            while end - at < most:
                count, end = count + 1, self._behind(end)
        self._mark(number + count, end)
        return number, count, self._memory[at:end]

    def confirm(self, number: int) -> None:
        """Records up to this one need not be kept any longer."""
        self.kept = max(self.kept, min(number, self.number))
        if self.kept == self.number:
            self._rewind()
            return
        while len(self._marks) > 1 and self._marks[1][0] <= self.kept + 1:
            self._marks.popleft()

    def close(self) -> None:
        """The file goes only if all it holds was confirmed."""
        if self._file is not None and self.kept == self.number:
            self._file.unlink(missing_ok=True)
        self._memory.close()
        if self._fd >= 0:
            os.close(self._fd)

    # ── inside ──

    def _start(self, region: int) -> None:
        """Write to the beginning of a region; what is in it counts no longer."""
        self._begin = self._at = _FRONT + region * self._region
        self._limit = self._begin + self._had[region]
        self._first = self.number + 1
        self._marks.clear()
        self._mark(self._first, self._begin)

    def _mark(self, number: int, at: int) -> None:
        if not self._marks or number > self._marks[-1][0]:
            self._marks.append((number, at))

    def _seek(self, after: int) -> tuple[int, int]:
        """The first entry behind `after`: its number and its place."""
        wanted = max(after + 1, self._first)
        number, at = next(mark for mark in reversed(self._marks) if mark[0] <= wanted)
        while number < wanted and at < self._at:
            number, at = number + 1, self._behind(at)
        return number, at

    def _behind(self, at: int) -> int:
        _, _, length, _ = _read_head(self._memory, at)
        return at + _HEADS + int(length)

    def _rewind(self) -> None:
        """Start over, and give back what an outage made us take."""
        other = 1 - self._in_use
        self._give_back(other, 0 if self._had[other] > self._step else self._had[other])
        self._give_back(self._in_use, min(self._had[self._in_use], self._step))
        self._start(self._in_use)

    def _give_back(self, region: int, keep: int) -> None:
        if self._had[region] > keep:
            with suppress(OSError):  # a file system that cannot: the memory stays ours
                begin = _FRONT + region * self._region + keep
                self._memory.madvise(mmap.MADV_REMOVE, begin, self._had[region] - keep)
                self._had[region] = keep

    def _make_room(self, size: int) -> bool:
        """Whether `size` bytes fit now.

        While reports are confirmed in time little is unconfirmed: that moves to the other region, and both stay
        small. Otherwise the region grows, and at its end the newest half moves.
        """
        _, unconfirmed = self._seek(self.kept)
        if self._at - unconfirmed + size <= self._step // 2:
            self._move(size)
        elif self._grow(self._in_use, self._at - self._begin + size):
            self._limit = self._begin + self._had[self._in_use]
        else:
            self._move(size)
        return self._at + size <= self._limit

    def _move(self, size: int) -> None:
        """Copy what is not confirmed, at most the newest half region of it, to the other region."""
        number, at = self._seek(self.kept)
        had_from, other = number, 1 - self._in_use
        while at < self._at and self._at - at + size > self._region // 2:
            number, at = number + 1, self._behind(at)
        while not self._grow(other, self._at - at + size) and at < self._at:  # a full file system: what fits
            number, at = number + 1, self._behind(at)
        entries = self._memory[at : self._at]
        self._start(other)
        self._memory[self._begin : self._begin + len(entries)] = entries
        self._at, self._first = self._begin + len(entries), number
        self._marks.clear()
        self._mark(number, self._begin)
        self._memory[_IN_USE] = self._in_use = other
        self.lost += number - had_from

    def _grow(self, region: int, wanted: int) -> bool:
        """Have `wanted` bytes of a region from the file system, so that writing to them cannot fail."""
        if wanted > self._region:
            return False
        while self._had[region] < wanted:
            more = min(self._step, self._region - self._had[region])
            if self._fd >= 0:
                try:
                    os.posix_fallocate(self._fd, _FRONT + region * self._region + self._had[region], more)
                except OSError:
                    return False
            self._had[region] += more
        return True


def _made(file: Path, size: int) -> int:
    """A new file, locked while it is open and not yet under its name."""
    fd = os.open(_unfinished(file), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.ftruncate(fd, size)
        os.posix_fallocate(fd, 0, _FRONT)
    except OSError:
        os.close(fd)
        raise
    return fd


def _unfinished(file: Path) -> Path:
    return file.with_suffix(_UNFINISHED)


class Left:
    """What a life that ended left behind. Locked while it is open, so that only one takes it."""

    def __init__(self, fd: int, file: Path, life: str, first: int, records: list[InvocationRecord]) -> None:
        """first: number of the first record; the others follow without a gap."""
        self._fd, self._file = fd, file
        self.life, self.first, self.records = life, first, records

    def close(self, taken: bool) -> None:
        """taken: all of it is in the database, so the file can go."""
        if taken:
            self._file.unlink(missing_ok=True)
        os.close(self._fd)


def leftovers(directory: Path) -> Iterator[Left]:
    """Journals in `directory` whose process has ended, one after the other. What holds nothing is removed."""
    for file in sorted(each for each in directory.iterdir() if each.suffix in (SUFFIX, _UNFINISHED)):
        left = _left(file)
        if left is None:
            continue
        if left.records:
            yield left
        else:
            with suppress(OSError):
                left.close(taken=True)


def _left(file: Path) -> Left | None:
    """None: of a process that lives, or gone meanwhile."""
    try:
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return _read(fd, file)
    except OSError:
        os.close(fd)
        return None


def _read(fd: int, file: Path) -> Left:
    size = os.fstat(fd).st_size
    if size <= _FRONT:
        return Left(fd, file, "", 0, [])
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as memory:
        if memory[: len(_MAGIC)] != _MAGIC:
            return Left(fd, file, "", 0, [])
        life = memory[_LIFE : _LIFE + _LIFE_SIZE].rstrip(b"\0").decode("ascii", errors="replace")
        region = (size - _FRONT) // 2
        begin = _FRONT + (region if memory[_IN_USE] else 0)
        entries = list(_entries(memory, begin, begin + region))
    return Left(fd, file, life, entries[0][0] if entries else 0, [record for _, record in entries])


def _entries(memory: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, InvocationRecord]]:
    decode = msgspec.msgpack.Decoder(InvocationRecord).decode
    previous = 0
    while at + _HEADS <= end:
        _, _, length, number = _read_head(memory, at)
        if not length or not number or (previous and number != previous + 1) or at + _HEADS + length > end:
            return
        try:
            record = decode(memory[at + _HEADS : at + _HEADS + length])
        except msgspec.MsgspecError:  # of a round that was confirmed, and half overwritten
            return
        yield number, record
        previous, at = number, at + _HEADS + length

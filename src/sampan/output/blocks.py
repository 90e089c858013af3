"""Lines packed together: columns, compressed; and what can be said of a block without opening it.

A block is msgpack under zstd: who printed (`sources`), the requests, and per line its time (as the difference to
the one before), its source, its request and its level. The texts are joined by line feeds, which no line holds,
so that a search can look at all of them at once.
"""

from collections.abc import Iterable, Sequence

import msgspec
import zstandard

from sampan.model.names import VersionKey, split_version_key
from sampan.output import bloom
from sampan.output.levels import LEVELS
from sampan.output.lines import STREAMS, Line

RAW = 256 << 10  # bytes of text in a block, about: enough to compress well, little enough to open for one line
MOST_LINES = 16384  # in a block
LEVEL = 3  # of zstd: 9.0 bytes for a line of 69 at 430 MB/s (2026-11-27, one core); level 9: 8.1 at 70 MB/s
MAX_RAW = 64 << 20  # bytes a block may claim to hold; what is larger was not written by us

Source = tuple[str, VersionKey, int]  # instance, version, number of the stream


class Columns(msgspec.Struct, array_like=True, gc=False):
    """An opened block."""

    sources: list[Source]
    requests: list[str]  # the first is ""
    times: list[int]
    source: list[int]
    request: list[int]
    levels: bytes
    texts: bytes


class Block(msgspec.Struct, frozen=True, gc=False):
    """A packed one, and what it is found by."""

    lines: int
    first: int  # Unix nanoseconds of the earliest line
    last: int
    level: int  # the gravest
    raw: int  # bytes of text
    sources: str  # instances and versions between blanks
    requests: bytes  # a filter, see `bloom`
    data: bytes


def pack(lines: Sequence[Line]) -> Block:
    """At least one line."""
    sources: dict[Source, int] = {}
    requests: dict[str, int] = {"": 0}
    source, request, deltas, times = [], [], [], [line.time for line in lines]
    before = 0
    for line in lines:
        key = (line.instance, line.version, STREAMS.index(line.stream))
        source.append(sources.setdefault(key, len(sources)))
        request.append(requests.setdefault(line.request, len(requests)))
        deltas.append(line.time - before)
        before = line.time
    levels = bytes(line.level for line in lines)
    texts = "\n".join([line.text for line in lines]).encode()
    columns = Columns(list(sources), list(requests), deltas, source, request, levels, texts)
    return Block(
        lines=len(lines),
        first=min(times),
        last=max(times),
        level=max(levels),
        raw=len(texts),
        sources=" " + " ".join(_words(sources)) + " ",
        requests=bloom.make([one for one in requests if one]),
        data=zstandard.ZstdCompressor(level=LEVEL).compress(msgspec.msgpack.encode(columns)),
    )


def open_(data: bytes) -> Columns:
    columns = _decode(zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_RAW))
    before, times = 0, []
    for delta in columns.times:
        before += delta
        times.append(before)
    columns.times = times
    return columns


def lines_of(columns: Columns, first: int, chosen: Iterable[int]) -> list[Line]:
    """The chosen lines of an opened block whose first line is the function's `first`."""
    texts = columns.texts.split(b"\n")
    found = []
    for at in chosen:
        instance, version, stream = columns.sources[columns.source[at]]
        request, level = columns.requests[columns.request[at]], LEVELS[columns.levels[at]]
        text = texts[at].decode()
        found.append(Line(columns.times[at], instance, version, STREAMS[stream], request, level, text, first + at))
    return found


def cut(lines: Sequence[Line]) -> list[Sequence[Line]]:
    """In stretches that make good blocks."""
    stretches: list[Sequence[Line]] = []
    begin = size = 0
    for at, line in enumerate(lines):
        size += len(line.text) + 1
        if size >= RAW or at - begin + 1 >= MOST_LINES:
            stretches.append(lines[begin : at + 1])
            begin, size = at + 1, 0
    if begin < len(lines):
        stretches.append(lines[begin:])
    return stretches


def version_of(key: VersionKey) -> str:
    return split_version_key(key)[1]


def _words(sources: Iterable[Source]) -> list[str]:
    found = {instance for instance, _, _ in sources} | {version_of(key) for _, key, _ in sources}
    return sorted(found)


_decode = msgspec.msgpack.Decoder(Columns).decode

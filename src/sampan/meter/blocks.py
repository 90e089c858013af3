"""Single records packed together: of one function, compressed; and what can be said of a block without opening it.

A block is one byte that names its format, then a zstd frame over a msgpack list of records. It is found by its
function, by the time in which its records ended, by their outcomes, instances and requests; everything else is
looked for in the records.
"""

import zlib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import zstandard

from sampan.model.invocation import InvocationRecord, Outcome
from sampan.model.names import VersionKey, split_version_key

FORMAT = b"\x01"
MOST = 5_000  # records in a block: opened in some 5 ms
LEVEL = 1  # of zstd: most of a record are ids, which no level makes smaller

_BITS = {outcome: 1 << at for at, outcome in enumerate(Outcome)}  # stored: a new outcome comes last
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[InvocationRecord]).decode


class Block(msgspec.Struct, frozen=True):
    """As `tables.blocks` has it."""

    function: str
    first: int  # Unix ns at which the earliest of its records ended
    last: int
    records: int
    outcomes: int  # `mask` of those there are
    instances: str  # each between line feeds
    requests: bytes  # `mark` of each
    data: bytes


def by_version(records: Iterable[InvocationRecord]) -> dict[VersionKey, list[InvocationRecord]]:
    """In their order."""
    found: dict[VersionKey, list[InvocationRecord]] = defaultdict(list)
    for record in records:
        found[record.version].append(record)
    return found


def packed(groups: Mapping[VersionKey, Sequence[InvocationRecord]]) -> Iterator[Block]:
    """Blocks of each function, of at most `MOST` records. groups: by version."""
    functions: dict[str, list[InvocationRecord]] = defaultdict(list)
    for version, records in groups.items():
        functions[split_version_key(version)[0]] += records
    by = zstandard.ZstdCompressor(level=LEVEL)
    for function, records in functions.items():
        for at in range(0, len(records), MOST):
            yield pack(function, records[at : at + MOST], by)


def pack(function: str, records: Sequence[InvocationRecord], by: zstandard.ZstdCompressor | None = None) -> Block:
    """At least one record, of this function. by: where there are more to pack; for one thread at a time."""
    ends = [record.ended for record in records]
    odd = {record.outcome for record in records if record.outcome is not Outcome.OK}
    fine = any(record.outcome is Outcome.OK for record in records)
    instances = {record.instance for record in records}
    marks = array("I", [zlib.crc32(record.request.encode()) for record in records])
    by = by or zstandard.ZstdCompressor(level=LEVEL)
    return Block(
        function,
        min(ends),
        max(ends),
        len(records),
        mask(odd) | (_BITS[Outcome.OK] if fine else 0),
        "\n".join(["", *instances, ""]),
        marks.tobytes(),
        FORMAT + by.compress(_encode(records)),
    )


def unpack(data: bytes) -> list[InvocationRecord]:
    """The records of a block's `data`. Raises: ValueError where the format is not known here."""
    if data[:1] != FORMAT:
        raise ValueError(f"block of records in format {data[:1].hex()}, known is {FORMAT.hex()}")
    return _decode(zstandard.ZstdDecompressor().decompress(data[1:]))


def mask(outcomes: Iterable[Outcome]) -> int:
    """A bit for each."""
    return sum(_BITS[outcome] for outcome in set(outcomes))


def mark(request: str) -> bytes:
    """Four bytes that a request is looked for by."""
    return array("I", [zlib.crc32(request.encode())]).tobytes()


def order(record: InvocationRecord) -> tuple[int, int]:
    """When it ended; of those that ended at once the same order always, whatever blocks they are in."""
    return record.ended, zlib.crc32(_encode(record))

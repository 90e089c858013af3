"""Log records that programs send by OTLP, as lines of their instance's output; and lines as records, for export."""

from collections.abc import Callable, Iterable, Sequence

from sampan.model.names import InstanceId, VersionKey, split_version_key
from sampan.output.levels import LEVELS, NAMES
from sampan.output.lines import MAX_LINE, OTLP, Line
from sampan.wire.otlp_logs import LogRecord


def to_lines(
    records: Iterable[LogRecord], version: Callable[[InstanceId], VersionKey | None]
) -> dict[str, list[Line]]:
    """By function. version: of an instance that is known. What no instance sent is nobody's output."""
    found: dict[str, list[Line]] = {}
    for record in records:
        key = version(InstanceId(record.instance))
        if key is not None:
            level = LEVELS[min((record.severity + 3) // 4, len(LEVELS) - 1)]
            text = record.text.replace("\n", "\\n").encode(errors="replace")[:MAX_LINE].decode(errors="ignore")
            line = Line(record.time, record.instance, key, OTLP, "", level, text)
            found.setdefault(record.function, []).append(line)
    return found


def to_records(lines: Sequence[Line]) -> list[LogRecord]:
    """All but those that came as records."""
    return [_record(line) for line in lines if line.stream != OTLP]


def _record(line: Line) -> LogRecord:
    function, version, _ = split_version_key(line.version)
    severity = max(0, 4 * line.level - 3)
    told = {"log.iostream": line.stream} | ({"faas.invocation_id": line.request} if line.request else {})
    return LogRecord(
        time=line.time,
        text=line.text,
        severity=severity,
        level=NAMES[line.level],
        service=function,
        function=function,
        version=version,
        instance=line.instance,
        attributes=dict(told),
        resource={
            "service.name": function,
            "faas.name": function,
            "faas.version": version,
            "faas.instance": line.instance,
        },
    )

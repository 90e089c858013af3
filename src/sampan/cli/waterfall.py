"""The waterfall of a trace as lines of coloured text: which spans have a line, what is in it. Pure.

    ├─ name service        ┊    ████▌    ┊          ┊  610 ms

Left the tree, in the middle the time, on one axis for all, right how long. A bar's right end is exact to an eighth
of a column, its left end to half of one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

from sampan.cli.screen import flat
from sampan.cli.span_tree import Node, covered

COLD, PLATFORM, ERROR, FAINT = "yellow", "bright_blue", "red", "bright_black"
SERVICES = ("cyan", "green", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
COLD_STAGES = {"ColdStart", "Initializer"}
ALIKE = 5  # siblings of one name that are shown one by one
SHOWN = 3  # of more than those
DEEPEST = 12  # levels that are indented
LENGTH = 9  # columns of a duration
NAME = 14  # columns of a name, at least
_EIGHTHS = " ▏▎▍▌▋▊▉█"


class Piece(NamedTuple):
    text: str
    style: str = ""


Line = list[Piece]


@dataclass(frozen=True, slots=True)
class Row:
    """A line to be: a span, or the many alike that are not shown one by one."""

    node: Node
    guides: str
    more: tuple[Node, ...] = ()


def rows(roots: Sequence[Node], full: bool = False) -> list[Row]:
    """The lines of a trace, top down. full: none left out."""
    found: list[Row] = []
    ahead = [Row(root, "") for root in reversed(roots)]
    while ahead:
        row = ahead.pop()
        found.append(row)
        if not row.more:
            ahead += reversed(list(_under(row, full)))
    return found


def _under(row: Row, full: bool) -> Iterator[Row]:
    node = row.node
    stem = row.guides.replace("├─ ", "│  ").replace("└─ ", "   ") if node.depth < DEEPEST else row.guides
    shown = [(child, ()) for child in node.children] if full else list(_folded(node.children))
    for at, (child, more) in enumerate(shown):
        branch = "" if node.depth >= DEEPEST else "└─ " if at == len(shown) - 1 else "├─ "
        yield Row(child, stem + branch, more)


def _folded(children: Sequence[Node]) -> Iterator[tuple[Node, tuple[Node, ...]]]:
    """Children by begin; of many alike those that failed or took longest, then the rest as one."""
    alike: dict[tuple[str, str], list[Node]] = {}
    for child in children:
        alike.setdefault((child.span.name, child.span.service), []).append(child)
    for child in children:
        same = alike[child.span.name, child.span.service]
        if len(same) <= ALIKE:
            yield child, ()
        elif same[0] is child:
            telling = sorted(same, key=lambda node: (not node.failed, node.begin - node.end))[:SHOWN]
            yield from ((node, ()) for node in same if node in telling)
            rest = tuple(node for node in same if node not in telling)
            yield rest[0], rest


def colours(roots: Sequence[Node]) -> dict[str, str]:
    """A colour for each service, in the order they appear."""
    services: dict[str, None] = {}
    for root in roots:
        for node in root.walk():
            services.setdefault(node.span.service)
    return {service: SERVICES[at % len(SERVICES)] for at, service in enumerate(services)}


def length(nanoseconds: int) -> str:
    """A stretch of time, in the unit that fits."""
    if nanoseconds < 1_000:
        return f"{nanoseconds} ns" if nanoseconds else "0"
    if nanoseconds < 999_500:
        return f"{nanoseconds / 1e3:.0f} µs"
    if nanoseconds < 9_950_000:
        return f"{nanoseconds / 1e6:.1f} ms"
    if nanoseconds < 999_500_000:
        return f"{nanoseconds / 1e6:.0f} ms"
    if nanoseconds < 59_950_000_000:
        return f"{nanoseconds / 1e9:.{2 if nanoseconds < 9_995_000_000 else 1}f} s"
    minutes, seconds = divmod(round(nanoseconds / 1e9), 60)
    if minutes < 60:
        return f"{minutes}m {seconds:02d}s"
    return f"{minutes // 60}h {minutes % 60:02d}m" if minutes < 100 * 60 else f"{minutes / 1440:.0f} d"


def bar(width: int, begin: float, end: float) -> str:
    """A bar over `width` columns, from `begin` to `end` of them; what is short is a sliver, never nothing."""
    begin = min(max(begin, 0.0), width - 0.125)
    end = min(max(end, begin + 0.125), float(width))
    first, last = int(begin), int(end)
    if first == last or end == first + 1:  # within one column
        right = begin - first >= 0.5
        narrow = end - begin < 0.25
        cell = ("▕" if narrow else "▐") if right else _EIGHTHS[max(1, round((end - begin) * 8))]
        return " " * first + cell
    head = "▐" if 0.25 <= begin - first < 0.75 else " " if begin - first >= 0.75 else "█"
    drawn = head + "█" * (last - first - 1) + _EIGHTHS[round((end - last) * 8)].strip()
    return " " * first + (drawn if drawn.strip() else "▕")


def ticks(width: int, total: int) -> list[tuple[int, str]]:
    """Columns of the axis that are named, and their names. total: nanoseconds."""
    if total <= 0:
        return [(0, "0")]
    step = 1
    while total / step > max(1, width / 8):  # 1, 2, 5, 10, …; a name and a gap take eight
        step = step * 5 // 2 if str(step)[0] == "2" else step * 2
    return [(at * width // total, length(at)) for at in range(0, total + 1, step) if at * width // total < width]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the columns are. begin, total: of the axis, nanoseconds."""

    label: int
    bars: int
    begin: int
    total: int

    @classmethod
    def of(cls, shown: Sequence[Row], width: int) -> "Layout":
        wanted = max(cell_len(row.guides) + _wanted(row) for row in shown)
        label = max(16, min(wanted + 1, width * 42 // 100))
        begin = min(row.node.begin for row in shown)
        end = max(row.node.end for row in shown)
        return cls(label, max(10, width - label - LENGTH), begin, max(1, end - begin))

    def axis(self) -> Line:
        """The names of the ticks."""
        text = ""
        for column, name in ticks(self.bars, self.total):
            if not text or column > len(text):
                text = text.ljust(column) + name if column + len(name) <= self.bars else text
        return [Piece(" " * self.label), Piece(text, FAINT)]

    def span(self, begin: int, end: int, style: str, block: str = "") -> Line:
        """A bar on the grid."""
        scale = self.bars / self.total
        text = bar(self.bars, (begin - self.begin) * scale, (end - self.begin) * scale)
        start = len(text) - len(text.lstrip())
        grid = [" "] * self.bars
        for column, _ in ticks(self.bars, self.total):
            grid[column] = "┊"
        drawn = text[start:] if not block else block * len(text[start:])
        return [
            Piece("".join(grid[:start]), FAINT),
            Piece(drawn, style),
            Piece("".join(grid[len(text) :]), FAINT),
        ]


def _wanted(row: Row) -> int:
    return cell_len(_name(row)) + (1 + cell_len(_service(row)) if _service(row) else 0) + 4


def _name(row: Row) -> str:
    name = flat(row.node.span.name)
    return f"…and {len(row.more)} more {name}" if row.more else name or "(no name)"


def _service(row: Row) -> str:
    """Said where it is another than the caller's."""
    span, parent = row.node.span, row.node.parent
    if row.more or (parent is not None and parent.span.service == span.service) or span.service == span.name:
        return ""
    return flat(span.service)


def is_cold(node: Node) -> bool:
    """Whether it is a part of a cold start."""
    at: Node | None = node
    while at is not None and at.span.platform:
        if at.span.name in COLD_STAGES:
            return True
        at = at.parent
    return False


def line(row: Row, layout: Layout, colour: dict[str, str]) -> Line:
    """One span, or many alike."""
    node = row.node
    failed = any(each.failed for each in row.more) if row.more else node.failed
    style = colour.get(node.span.service, "")
    if node.span.platform:
        style = COLD if is_cold(node) else PLATFORM
    if failed:
        style = ERROR
    end = max((each.end for each in row.more), default=node.end)
    drawn = layout.span(node.begin, end, _weighed(style, row), "░" if row.more else "")
    took = covered(sorted(row.more, key=lambda each: each.begin)) if row.more else node.span.duration
    return [*_label(row, layout.label, style, failed), *drawn, Piece(length(took).rjust(LENGTH), _weighed("", row))]


def _weighed(style: str, row: Row) -> str:
    """Fainter where it kept nobody waiting."""
    return style if row.more or row.node.critical or row.node.failed else f"{style} dim".strip()


def _label(row: Row, width: int, style: str, failed: bool) -> Line:
    marks = "✗ " if failed else ""
    tail = (" ±" if row.node.cut and not row.more else "") + (
        " ?" if row.node.orphan and row.node.depth == 0 else ""
    )
    guides, least = row.guides, min(NAME, len(marks) + cell_len(_name(row)) + len(tail) + 1)
    if len(guides) > width - least:  # deeper than there is room for
        guides = "…" + guides[least + 1 - width :]
    room = max(1, width - len(guides) - len(marks) - len(tail) - 1)
    name, service = shortened(_name(row), room), _service(row)
    left = room - cell_len(name)
    service = f" {shortened(service, left - 1)}" if service and left > 3 else ""
    used = len(guides) + len(marks) + cell_len(name) + cell_len(service) + len(tail)
    return [
        Piece(guides, FAINT),
        Piece(marks, f"{ERROR} bold"),
        Piece(name, FAINT if row.more and not failed else style),
        Piece(service, FAINT),
        Piece(tail, "bold yellow"),
        Piece(" " * max(0, width - used)),
    ]


def shortened(text: str, width: int) -> str:
    """At most so many columns wide."""
    return text if cell_len(text) <= width else set_cell_size(text, max(0, width - 1)).rstrip() + "…"

"""A trace on the terminal: its head, the waterfall, what it comes to."""

import textwrap
import time
from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from sampan.cli import trace_story
from sampan.cli.screen import printable
from sampan.cli.span_tree import Node, tree
from sampan.cli.waterfall import FAINT, Layout, Line, Piece, Row, colours, line, rows, shortened
from sampan.wire.trace_shapes import Trace, TraceSpan

NARROWEST = 60  # columns; on fewer the lines are cut by the terminal
MOST = 400  # lines of spans, unless all are asked for
REASON = 4  # lines of why a span failed
LEAST = 16  # columns of such a line, however deep it stands


def show(console: Console, trace: Trace, *, attributes: bool = False, full: bool = False) -> None:
    """Draw `trace` as wide as the console is. full: all spans, however many."""
    width = max(NARROWEST, console.width)
    for each in lines(trace, width, attributes, full, time.time()):
        console.print(_text(each), soft_wrap=True)


def _text(line: Line) -> Text:
    text = Text(no_wrap=True, end="")
    for piece in line:
        text.append(piece.text, piece.style or None)
    text.rstrip()
    return text


def lines(trace: Trace, width: int, attributes: bool, full: bool, now: float) -> Iterator[Line]:
    """All lines, top down. now: Unix seconds."""
    roots = tree(trace.spans)
    shown = rows(roots, full)
    layout = Layout.of(shown[:MOST] if not full else shown, width)
    yield from trace_story.head(roots, trace.trace_id, width, now)
    yield []
    yield layout.axis()
    yield from _spans(shown, roots, layout, width, attributes, full)
    yield []
    if roots[0].end > roots[0].begin:
        yield from _wrapped(trace_story.sentence(roots[0]), width)
    if busiest := trace_story.busiest(roots[0]):
        yield from _wrapped(busiest, width)
    yield from _notes(shown, roots)


def _spans(
    shown: list[Row], roots: list[Node], layout: Layout, width: int, attributes: bool, full: bool
) -> Iterator[Line]:
    colour = colours(roots)
    drawn = shown if full else shown[:MOST]
    for row in drawn:
        yield line(row, layout, colour)
        if row.more:
            continue
        indent = row.guides.replace("├─ ", "│  ").replace("└─ ", "   ") + ("│ " if row.node.children else "  ")
        for at, told in enumerate(_broken(trace_story.complaint(row.node), width - len(indent) - 2)):
            yield [Piece(indent, FAINT), Piece(f"{'  ' if at else '↳ '}{told}", "red")]
        if attributes:
            for text in _attributes(row.node.span):
                yield [Piece(indent, FAINT), Piece(shortened(text, width - len(indent)), FAINT)]
    if len(drawn) < len(shown):
        yield [Piece(f"…and {len(shown) - len(drawn)} more lines; --full shows all", FAINT)]


def _broken(text: str, width: int) -> list[str]:
    """The text in lines, as many as a reason may take."""
    room = width if cell_len(text) == len(text) else width // 2
    lines = textwrap.wrap(text, max(LEAST, room), max_lines=REASON, placeholder=" …")
    return [shortened(line, width) for line in lines]


def _attributes(span: TraceSpan) -> Iterator[str]:
    for name, value in sorted(span.attributes.items()):
        yield printable(f"{name} = {_word(value)}".replace("\n", "⏎").replace("\t", " "))
    for event in span.events:
        told = ", ".join(f"{name}={_word(value)}" for name, value in event.attributes.items())
        after = (event.time - span.start) / 1e6
        yield printable(f"@ {after:.1f} ms {event.name} {told}".replace("\n", "⏎").replace("\t", " "))


def _word(value: object) -> str:
    """As `sampan traces --attribute` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrapped(line: Line, width: int) -> Iterator[Line]:
    """The line, broken between its parts where it is too long."""
    indent = cell_len(line[0].text)
    made, used = [line[0]], indent
    for at in range(1, len(line), 3):
        separator, *part = line[at : at + 3]
        size = cell_len(separator.text) + sum(cell_len(piece.text) for piece in part)
        if used + size > width and used > indent:
            yield made
            made, used, separator = [Piece(" " * indent)], indent, Piece("")
            size -= 3
        made += [separator, *part]
        used += size
    yield made


def _notes(shown: list[Row], roots: list[Node]) -> Iterator[Line]:
    """What the marks mean, where there are any."""
    if any(row.node.cut and not row.more for row in shown):
        told = "drawn only as far as its parent goes: clocks differ, or it went on after"
        yield [Piece("± ", "bold yellow"), Piece(told, FAINT)]
    if any(root.orphan for root in roots):
        told = "its parent is not here: not reported, not yet, or the caller's own"
        yield [Piece("? ", "bold yellow"), Piece(told, FAINT)]

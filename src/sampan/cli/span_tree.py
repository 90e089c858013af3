"""A trace's spans as a tree that can be drawn, and where its time went. Pure.

Spans are hostile: parents are missing, in circles or thousands deep, clocks differ. So every span is in the tree
once, nothing recurses, and a span is drawn within its parent: what is outside is cut off and marked.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from sampan.wire.trace_shapes import TraceSpan

TOLERANCE = (
    50_000  # nanoseconds outside its parent that nobody is told of: clocks of processes, and whole microseconds
)


@dataclass(slots=True, eq=False)
class Node:
    """A span in its place. `begin`, `end`: as drawn; nanoseconds since 1970, as all times."""

    span: TraceSpan
    begin: int
    end: int
    parent: "Node | None" = None
    depth: int = 0
    children: "list[Node]" = field(default_factory=list)  # by begin
    cut: bool = False  # it began before its parent, or went on after it
    orphan: bool = False  # it has a parent, which is not here
    own: int = 0  # time in which no child was at work
    path: int = 0  # of the trace's time, what only this can be blamed for: its part of the critical path
    critical: bool = False

    @property
    def failed(self) -> bool:
        return self.span.status == "error"

    def walk(self) -> "Iterator[Node]":
        """This and all under it, parents first."""
        ahead = [self]
        while ahead:
            node = ahead.pop()
            yield node
            ahead += reversed(node.children)


def tree(spans: Sequence[TraceSpan]) -> list[Node]:
    """The spans that nobody here called, by begin, the platform's first; each with what is under it."""
    nodes: dict[str, Node] = {}
    for span in sorted(spans, key=lambda span: (span.start, -span.duration)):
        nodes.setdefault(span.span_id, Node(span, span.start, span.end))
    roots = []
    for node in nodes.values():
        parent = nodes.get(node.span.parent_id)
        if parent is None or parent is node:
            node.orphan = bool(node.span.parent_id)
            roots.append(node)
        else:
            node.parent = parent
            parent.children.append(node)
    roots += _circles(nodes, roots)
    for root in roots:
        _place(root)
    roots.sort(key=lambda root: (root.orphan and not root.span.platform, not root.span.platform, root.begin))
    if roots:
        roots[0].orphan &= not roots[0].span.platform  # who called from outside keeps its own spans
        _blame(roots[0])
    return roots


def _circles(nodes: dict[str, Node], roots: list[Node]) -> list[Node]:
    """A root for each circle of parents: the span of it that began first."""
    reached = {id(node) for root in roots for node in root.walk()}
    made = []
    for node in nodes.values():
        if id(node) in reached:
            continue
        if node.parent is not None:
            node.parent.children.remove(node)
        node.parent, node.orphan = None, True
        made.append(node)
        reached |= {id(each) for each in node.walk()}
    return made


def _place(root: Node) -> None:
    """Depths; every span cut to its parent's time; own times."""
    for node in root.walk():
        for child in node.children:
            child.depth = node.depth + 1
            child.begin = min(max(child.begin, node.begin), node.end)
            child.end = max(min(child.end, node.end), child.begin)
            child.cut = max(child.begin - child.span.start, child.span.end - child.end) > TOLERANCE
        node.children.sort(key=lambda child: (child.begin, -child.end))
        node.own = node.end - node.begin - covered(node.children)


def covered(nodes: Sequence[Node]) -> int:
    """Nanoseconds in which at least one of them was at work. nodes: by begin."""
    total, until = 0, 0
    for node in nodes:
        total += max(0, node.end - max(node.begin, until))
        until = max(until, node.end)
    return total


def _blame(root: Node) -> None:
    """Give each moment to one span: backwards from the end, the child that ended last, else the span itself.

    So parts of `path` sum up to the time of the root, whatever ran side by side.
    """
    ahead = [(root, root.begin, root.end)]
    while ahead:
        node, begin, until = ahead.pop()
        node.critical = True
        for child in sorted(node.children, key=lambda child: (child.end, child.begin), reverse=True):
            end = min(child.end, until)
            if child.begin >= end or end <= begin:
                continue
            node.path += until - end
            ahead.append((child, max(child.begin, begin), end))
            until = max(child.begin, begin)
        node.path += until - begin

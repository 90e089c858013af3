"""What a trace comes to, in words: what was asked, how it ended, where the time went. Pure."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sampan.cli.screen import ago, flat
from sampan.cli.span_tree import Node
from sampan.cli.waterfall import COLD, ERROR, FAINT, PLATFORM, Line, Piece, length, shortened

REST = "in the platform besides"
WORDS = {  # of the one function, and where there are several; source of the names: tracing-contract.md §3
    "Schedule": ("waiting for a slot", "waiting for a slot of {}"),
    "ColdStart": ("to start", "to start {}"),
    "PrepareCode": ("to get the image", "to get the image of {}"),
    "RuntimeInitialization": ("to start", "to start {}"),
    "ready": ("for its program to listen", "for the program of {} to listen"),
    "Initializer": ("to initialise", "to initialise {}"),
    "Thaw": ("to wake it", "to wake {}"),
    "Invocation": ("in the function", "in {}"),
    "": (REST, f"{REST}, for {{}}"),
}
LEAST = 0.002  # of the whole: what is less is not worth a word
MOST = 4  # spans that are named
PARTS = 8  # parts of the time that are named
REQUEST = ("fc.request_id", "faas.invocation_id")


def head(roots: Sequence[Node], trace_id: str, width: int, now: float) -> list[Line]:
    """What was asked, how it ended; then what to look for it by. now: Unix seconds."""
    root = roots[0]
    span, attributes = root.span, root.span.attributes
    first = [Piece(flat(span.function or span.service or span.name), "bold")]
    if call := _call(attributes) or (flat(span.name) if span.name != span.function else ""):
        first.append(Piece(f"  {call}"))
    first += [Piece("  "), _outcome(root), Piece(f"  {length(span.duration)}", "bold")]
    first.append(_start(root))
    counted = [node.span for each in roots for node in each.walk()]
    services, failed = {each.service for each in counted}, sum(each.status == "error" for each in counted)
    about = [_many(len(counted), "span"), _many(len(services), "service")]
    began = datetime.fromtimestamp(span.start / 1e9).astimezone()
    second = [
        Piece(f"{began:%Y-%m-%d %H:%M:%S}.{began.microsecond // 1000:03d}  {ago(span.start / 1e6, now)}  ", FAINT),
        Piece(" · ".join(about), FAINT),
        Piece(f" · {_many(failed, 'error')}" if failed else "", ERROR),
    ]
    lines = [first, second, [Piece(f"trace    {trace_id}", FAINT)]]
    if request := next((text for name in REQUEST if isinstance(text := attributes.get(name), str)), ""):
        lines.append([Piece(f"request  {shortened(flat(request), width - 9)}", FAINT)])
    return lines


def _start(root: Node) -> Piece:
    """How it came to its instance; nothing is said of a request that never came to one, unless the start failed."""
    if not root.span.platform:
        return Piece("")
    under = {child.span.name: child for child in root.children if child.span.platform}
    if "ColdStart" in under and under["ColdStart"].failed:
        return Piece("  start failed", ERROR)
    if any(root.span.attributes.get(name) is True for name in ("faas.coldstart", "fc.cold_start")):
        return Piece("  cold start", COLD)
    return Piece("  warm", "green") if "Invocation" in under else Piece("")


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _call(attributes: dict[str, Any]) -> str:
    """Method and path, of either age of the conventions."""
    method = attributes.get("http.request.method") or attributes.get("http.method")
    path = attributes.get("url.path") or attributes.get("http.target") or attributes.get("http.route")
    return flat(" ".join(str(part) for part in (method, path) if part))


def _outcome(root: Node) -> Piece:
    attributes = root.span.attributes
    status = attributes.get("http.response.status_code") or attributes.get("http.status_code")
    told = f" {status}" if isinstance(status, int) else ""
    if not root.failed:
        return Piece(f"✓{told or ' ok'}", "bold green")
    kind = flat(str(attributes.get("fc.error_type") or attributes.get("error.type") or ""))
    kind = "" if kind == told.strip() else kind
    return Piece(f"✗{told} {kind or ('' if told else 'failed')}".rstrip(), f"bold {ERROR}")


def complaint(node: Node) -> str:
    """Why a span failed, in a line; "" where it does not say, or a span under it says the same."""
    if not node.failed:
        return ""
    told = _complaint(node)
    return "" if any(child.failed and _complaint(child) == told for child in node.children) else told


def _complaint(node: Node) -> str:
    for event in node.span.events:
        if event.name == "exception":
            kind, message = (str(event.attributes.get(f"exception.{part}", "")) for part in ("type", "message"))
            return flat(": ".join(part for part in (kind, message) if part))
    kind = node.span.attributes.get("error.type") or node.span.attributes.get("fc.error_type") or ""
    return flat(node.span.message or str(kind))


def sentence(root: Node) -> Line:
    """Where the time of the trace went, largest first."""
    parts = shares(root)
    whole = max(1, root.end - root.begin)
    worth = [(words, spent) for words, spent in parts[:PARTS] if spent >= whole * LEAST] or parts[:1]
    if (rest := sum(spent for _, spent in parts[len(worth) :])) >= whole * LEAST:
        worth.append(("elsewhere", rest))
    line = [Piece("Where the time went: ", "bold")]
    for at, (words, spent) in enumerate(worth):
        line.append(Piece(" · " if at else "", FAINT))
        line.append(Piece(length(spent), "bold"))
        line.append(Piece(f" {words}", _style(words)))
    return line


def _style(words: str) -> str:
    if words.startswith(("to ", "for ")):
        return COLD
    return PLATFORM if words.startswith((WORDS["Schedule"][0], REST)) else ""


def shares(root: Node) -> list[tuple[str, int]]:
    """What the trace waited for and how long, largest first; together as long as the root.

    What a function's code reports is time in that function, up to where the platform calls the next one.
    """
    spent: Counter[tuple[str, str]] = Counter()
    kinds: dict[int, tuple[str, str]] = {}  # of WORDS, and whose it is; no function: a service
    for node in root.walk():
        kind = kinds[id(node)] = _kind(node, kinds.get(id(node.parent)))
        spent[kind] += node.path
    several = len({function for _, function in spent}) > 1
    told: Counter[str] = Counter()
    for (name, whose), time in spent.items():
        told[WORDS[name][several].format(flat(whose)) if name in WORDS else f"in {flat(whose)}"] += time
    return [(words, time) for words, time in told.most_common() if time > 0]


def _kind(node: Node, above: tuple[str, str] | None) -> tuple[str, str]:
    span = node.span
    if not span.platform:
        return above if above is not None and above[0] in WORDS else ("service", span.service)
    if span.name in WORDS and span.kind != "server":  # which is named after its function
        return span.name, span.function
    within = above is not None and node.parent is not None and node.parent.span.platform
    return (above[0] if above is not None and within else "", span.function)


def busiest(root: Node) -> Line:
    """Which of what was reported by code kept the trace waiting most; empty where that would say nothing new."""
    spent: Counter[tuple[str, str]] = Counter()
    times: Counter[tuple[str, str]] = Counter()
    for node in root.walk():
        if not node.span.platform and node.path:
            spent[node.span.name, node.span.service] += node.path
            times[node.span.name, node.span.service] += 1
    if len(spent) < 2:
        return []
    whole = max(1, root.end - root.begin)
    several = len({service for _, service in spent}) > 1
    line = [Piece("Of that, in spans:   ", "bold")]
    for at, ((name, service), time) in enumerate(spent.most_common(MOST - 1)):
        if at and time < whole * LEAST:
            break
        often = f" ×{times[name, service]}" if times[name, service] > 1 else ""
        of = f" ({flat(service)})" if several and service != name else ""
        line += [Piece(" · " if at else "", FAINT), Piece(length(time), "bold")]
        line.append(Piece(f" {shortened(flat(name), 40)}{of}{often}"))
    return line

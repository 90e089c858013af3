"""Traces as they come: a cold one with a call to another function, and its parts."""

from sampan.model.trace import Attributes, Kind, Span, SpanEvent, Status

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
START = 1_767_225_600_000_000_000  # 2026-01-01T00:00:00Z
MS = 1_000_000
REQUEST = "1-6955b900-0123456789abcdef01234567"


def span(
    number: int,
    parent: int,
    name: str,
    begin: float,
    end: float,
    *,
    trace: str = TRACE,
    kind: Kind = Kind.INTERNAL,
    service: str = "shop",
    function: str = "shop",
    platform: bool = False,
    status: Status = Status.UNSET,
    message: str = "",
    attributes: Attributes | None = None,
    events: tuple[SpanEvent, ...] = (),
    resource: Attributes | None = None,
    start: int = START,
) -> Span:
    """`number`, `parent`: of the span ids; 0: no parent. `begin`, `end`: milliseconds since `start`."""
    return Span(
        trace,
        f"{number:016x}",
        f"{parent:016x}" if parent else "",
        name,
        kind,
        start + round(begin * MS),
        start + round(end * MS),
        service,
        function,
        "LATEST",
        "c-0123456789abcdef01234567",
        platform,
        status,
        message,
        attributes or {},
        resource or {},
        events,
    )


def cold(trace: str = TRACE, request: str = REQUEST, start: int = START) -> list[Span]:
    """A cold start of `shop`, which asks its database a hundred times and calls `pay`, which fails."""
    at = {"trace": trace, "start": start}
    root: Attributes = {
        "faas.coldstart": True,
        "fc.cold_start": True,
        "fc.request_id": request,
        "faas.invocation_id": request,
        "http.request.method": "GET",
        "url.path": "/basket/17",
        "http.response.status_code": 502,
    }
    refused = SpanEvent(
        "exception", start + 1100 * MS, {"exception.type": "CardRefused", "exception.message": "card 42 is blocked"}
    )
    pay = {"service": "pay", "function": "pay"}
    spans = [
        span(1, 0, "shop", 0, 1204, kind=Kind.SERVER, platform=True, attributes=root, status=Status.ERROR, **at),
        span(2, 1, "Schedule", 0.1, 3.1, platform=True, **at),
        span(3, 1, "ColdStart", 3.1, 354, platform=True, attributes={"fc.cold_start": True}, **at),
        span(4, 3, "PrepareCode", 3.1, 44.4, platform=True, **at),
        span(5, 3, "RuntimeInitialization", 44.4, 354, platform=True, **at),
        span(6, 5, "create", 44.5, 61, platform=True, **at),
        span(7, 5, "start", 61, 65, platform=True, **at),
        span(8, 5, "ready", 65, 354, platform=True, **at),
        span(9, 1, "Initializer", 354, 964, platform=True, **at),
        span(10, 1, "Invocation", 964, 1203, kind=Kind.CLIENT, platform=True, **at),
        span(11, 10, "GET /basket/{id}", 965, 1202, kind=Kind.SERVER, status=Status.ERROR, **at),
    ]
    for query in range(100):
        begin = 966 + query * 0.9
        spans.append(
            span(
                100 + query,
                11,
                "SELECT item",
                begin,
                begin + (0.8 if query != 40 else 12),
                kind=Kind.CLIENT,
                service="postgres",
                attributes={"db.system": "postgresql", "db.statement": f"SELECT * FROM item WHERE id = {query}"},
                **at,
            )
        )
    spans += [
        span(12, 11, "render", 1030, 1058, **at),
        span(13, 11, "POST pay", 1058, 1201, kind=Kind.CLIENT, status=Status.ERROR, **at),
        span(14, 13, "pay", 1059, 1200, kind=Kind.SERVER, platform=True, status=Status.ERROR, **pay, **at),
        span(15, 14, "Invocation", 1060, 1199, kind=Kind.CLIENT, platform=True, **pay, **at),
        span(
            16,
            15,
            "charge",
            1055,
            1198,
            status=Status.ERROR,
            events=(refused,),
            attributes={"card": 42},
            **pay,
            **at,
        ),
    ]
    return spans

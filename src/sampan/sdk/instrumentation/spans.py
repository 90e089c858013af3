"""The client span of one request, and its context in the request's headers.

Source: tracing-contract.md §6.1 (FaaS, client side), §6.2 (HTTP client), §4 (headers).
"""

import re
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit, urlunsplit

from opentelemetry import context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.instrumentation.utils import is_http_instrumentation_enabled, suppress_http_instrumentation
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sampan.sdk.propagation import FC_CONTEXT, parse_fc_context, passed_on, write_fc_context

Attributes = dict[str, str | int]
METHODS = frozenset(("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"))
SHOWN = frozenset(("qualifier", "limit", "direction"))  # values of the query that cannot be anybody's secret
REDACTED = "REDACTED"
_W3C = CompositePropagator([TraceContextTextMapPropagator(), W3CBaggagePropagator()])
_VENDOR = re.compile(r"(?:[^.]+\.)*?([a-z]+(?:-[a-z0-9]+)+?)(?:-internal)?(?:\.fc)?\.aliyuncs\.com")


def name(operation: str, function: str) -> str:
    """Few and telling: never a path."""
    return f"invoke {function}" if function else operation


def invoked(function: str, region: str, host: str) -> Attributes:
    """Of a call that invokes `function`; of any other there are none."""
    if not function:
        return {}
    vendor = _VENDOR.fullmatch(host)
    attributes: Attributes = {
        "faas.invoked_name": function,
        "faas.invoked_provider": "alibaba_cloud" if vendor else "sampan",
    }
    if where := region or (vendor[1] if vendor else ""):
        attributes["faas.invoked_region"] = where
    return attributes


def requested(method: str, url: str, resends: int = 0) -> Attributes:
    """Of an HTTP request. resends: how often it was sent before."""
    attributes: Attributes = {"http.request.method": method if method in METHODS else "_OTHER"}
    if method not in METHODS:
        attributes["http.request.method_original"] = method
    if resends:
        attributes["http.request.resend_count"] = resends
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # no URL; the request will say so
        return attributes
    attributes |= {"server.address": parts.hostname or "", "server.port": port, "url.full": _shown(parts)}
    return attributes


def _shown(parts: SplitResult) -> str:
    """The URL without user, password and what its query may hold of secrets."""
    pairs = [pair.partition("=") for pair in parts.query.split("&") if pair]
    query = "&".join(f"{key}={value if key in SHOWN else REDACTED}" for key, _, value in pairs)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, query, ""))


class CallSpan:
    """What became of the request, told to its span."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self._told = False

    def sends(self, attributes: Attributes) -> None:
        self._span.set_attributes(attributes)

    def answered(self, status: int, headers: Mapping[str, str], resends: int = 0) -> None:
        """A function that failed has failed the call, though its answer may say 200. Header names in any case."""
        given = {key.lower(): value for key, value in headers.items()}
        self._span.set_attribute("http.response.status_code", status)
        if request_id := given.get("x-fc-request-id"):
            self._span.set_attribute("faas.invocation_id", request_id)
        if resends:
            self._span.set_attribute("http.request.resend_count", resends)
        if error := given.get("x-fc-error-type") or (str(status) if status >= 400 else ""):
            self._failed(error)

    def raised(self, error: BaseException) -> None:
        """Only its class is told: the messages of HTTP libraries quote URLs with all they hold."""
        if not self._told:
            kind = type(error)
            self._failed(
                kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
            )

    def _failed(self, error: str) -> None:
        self._told = True
        self._span.set_attribute("error.type", error)
        self._span.set_status(trace.StatusCode.ERROR)


@contextmanager
def calling(
    tracer: trace.Tracer, name: str, attributes: Attributes, headers: MutableMapping[str, str]
) -> Iterator[CallSpan]:
    """A span around a request whose `headers` get its context. Its parent: the current span, else what they carry,
    else what `sdk.trace_context` holds.

    The HTTP library's own instrumentation keeps still within. Where instrumentation is suppressed nothing is done.
    """
    if not is_http_instrumentation_enabled():
        yield CallSpan(trace.INVALID_SPAN)
        return
    token = context.attach(_parent(headers))
    try:
        span = tracer.start_span(name, kind=trace.SpanKind.CLIENT, attributes=attributes)
        with (
            trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False),
            suppress_http_instrumentation(),
        ):
            carry(headers)
            call = CallSpan(span)
            try:
                yield call
            except BaseException as error:
                call.raised(error)
                raise
    finally:
        context.detach(token)


def carry(headers: MutableMapping[str, str], fc: bool = False) -> None:
    """Put the current context into `headers`, in place of any there. `fc`: in Function Compute's own form, too."""
    carried: dict[str, str] = {}
    propagate.inject(carried)
    _W3C.inject(carried)  # whatever OTEL_PROPAGATORS says: it is what the platform reads first
    current = trace.get_current_span().get_span_context()
    if current.is_valid and (fc or any(key.lower() == FC_CONTEXT for key in headers)):
        carried[FC_CONTEXT] = write_fc_context(current.trace_id, current.span_id, current.trace_flags)
    replaced = {key.lower() for key in carried}
    for key in [key for key in headers if key.lower() in replaced]:
        del headers[key]
    headers.update(carried)


def _parent(headers: Mapping[str, str]) -> Context:
    current = context.get_current()
    if trace.get_current_span(current).get_span_context().is_valid:
        return current
    written = {key.lower(): value for key, value in headers.items() if isinstance(value, str)}
    given = {**passed_on(headers), **written}
    for propagator in (_W3C, propagate.get_global_textmap()):
        found = propagator.extract(given, current)
        if trace.get_current_span(found).get_span_context().is_valid:
            return found
    return _fc_parent(given.get(FC_CONTEXT, ""), _W3C.extract(given, current))


def _fc_parent(text: str, otherwise: Context) -> Context:
    ids = parse_fc_context(text)
    if ids is None:
        return otherwise
    remote = trace.SpanContext(ids.trace, ids.span, is_remote=True, trace_flags=trace.TraceFlags(ids.flags & 1))
    return trace.set_span_in_context(trace.NonRecordingSpan(remote), otherwise)

"""What the house says about itself, and how traces pass through it. Pure, but for the log; stores are elsewhere.

`logs.Log` writes the platform's own log, one line per event. Trace context in: `context.extract`, `context.begin`
(`formats`: a reader per format; `members`: tracestate and baggage). Out: `outgoing.container_lines`. When an
invocation is over, `spans.platform_spans` makes the platform's spans of its record (`layout` divides the time).
"""

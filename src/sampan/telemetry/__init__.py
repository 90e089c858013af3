"""What the house says about itself, and how traces pass through it: pure, but for the log. Stores are elsewhere.

`logs.Log` writes the platform's own log, one line per event. Trace context in: `context.extract` and `context.begin`
(`formats`: one reader per format; `members`: tracestate and baggage); out: `outgoing.container_lines`. When an
invocation is over, `spans.platform_spans` makes the platform's spans of its record (`layout` divides the time), and
`request_metrics` the line for its log.
"""

"""Spans and function logs sent on to other back-ends: OTLP over gRPC or HTTP, Jaeger thrift over HTTP.

`router.Router` says what goes where, one `exporter.Exporter` per back-end keeps and sends it, a transport speaks
the back-end's language, `guard.Guard` says which addresses a function may name. A call enters at `Router.offer`.
"""

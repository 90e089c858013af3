"""The data plane: every connection from outside comes in here, and a function's answer goes out.

A request walks `protocol` (bytes to an `Exchange`) → `invoke` (the story) → `route` → `limits` → `leases` →
`forward` (bytes to the instance, over `upstream`) and back through `relay` (HTTP calls) or `events`
(InvokeFunction). A warm one asks nobody; a cold one waits in `leases` until `control` brings a grant. What is no
invocation is handed to the API untouched. `guards` say who may call, `cors` from which pages. `health` says how the
platform is.
What a client speaks is found out in `greeting`. HTTP/2 comes in by `http2`, where a stream is an exchange; calls of
gRPC go on over HTTP/2 (`grpc`, `upstream_http2`). TLS is `tls`, with the `certificates` it chooses from.
Deciding what runs is not done here but in `scheduler/`.
A call enters at `server.Gateway`.
"""

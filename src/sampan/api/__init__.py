"""The FC 3.0 control plane, one file per resource, and this platform's own paths under `/sampan/v1`.

A call enters at `app.app`: checked (`wire.signature`), matched (`wire.operations`), handed to the function in
`app.ENDPOINTS` as a `Call`. That function returns a shape, `None` (204) or a stream, or raises. What it needs from
other rooms is declared in `call`. Invocations never come here; they are the gateway's.
"""

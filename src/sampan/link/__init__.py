"""The connections between our own processes: gateway ⇄ control, control ⇄ sandboxd.

`channel` carries whole typed messages over a stream socket; `rpc` puts calls, replies and streams on a channel;
`messages` is what gateway and control say to each other. Nothing here knows what the messages are for.
A call enters at `rpc.connect`/`rpc.serve`, or at `channel.connect`/`channel.serve`.
"""

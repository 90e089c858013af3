"""What runs, and who may use it.

`core.step(cluster, event, now)` decides and is pure; `loop` carries the decisions out against an engine and feeds
what came of them back as events; `server` speaks with the gateways; `rollout` brings new revisions into service.
How a sandbox is made is the engine's business; what a function is, the catalog's.
A call enters at `loop.Scheduler`.
"""

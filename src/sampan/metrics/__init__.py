"""How the platform does in numbers: counters and histograms of now, a history by the minute.

`registry.Registry` is told of invocations, gauges, instances and what these use. It holds the `catalogue` of
metrics, each a `families.Family` under one limit of series, which `exposition` writes for Prometheus; and of each
function the last seconds (`recent`), which `now` makes a snapshot of. `history.History` keeps a row per function
and minute in the database: its numbers (`minutes`) add up over any stretch, its durations are a `sketch`.
What was used is counted here to be looked at; what is billed is counted in `meter/`.
"""

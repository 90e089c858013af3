"""What telemetry costs and what it carries: the warm path, cold starts, logs, metering, spans.

`python -m bench.telemetry`; each file measures one of them, beside its floor or its goal.
"""

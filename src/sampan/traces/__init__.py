"""Spans: kept, searched, forgotten in time.

A call enters at `store.TraceStore`. Spans wait in `waiting`, go into the database in batches (`writing`: what each
trace is then, `merging`; how it is stored, `rows`; what it is found by, `tokens`), are read by `reading`, and go by
age and size (`forgetting`). The tables tell what is where.
"""

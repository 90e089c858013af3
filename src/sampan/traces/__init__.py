"""Spans: kept, searched, forgotten in time."""

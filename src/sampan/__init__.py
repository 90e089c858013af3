"""Sampan: function compute for container images.

The house is laid out in ARCHITECTURE.md: a folder is a room, a room imports only from the floors below.
"""

__version__ = "0.1.0"

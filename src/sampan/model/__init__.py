"""What the house talks about: frozen data and pure rules, no I/O, no clock.

Every other room may import from here; this room imports nothing of ours. Data that crosses a process
boundary is a frozen `msgspec.Struct`, so the very object that a room uses is the one that travels.
"""

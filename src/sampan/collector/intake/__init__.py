"""What functions report, taken in: Jaeger, OTLP and Zipkin, each on its own port.

Whose it is, is told by the address it comes from; what is too much is refused here, function by function, and
counted. A call enters at `Intake.serve`; `sockets.listen` makes what it listens on. Bytes are read in `wire/`;
where spans go, the `take` it is given knows.
"""

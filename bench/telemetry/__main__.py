"""`make bench-telemetry`: python -m bench.telemetry [MEASUREMENT…]    exit code 1 when a promise is broken"""

import sys
from collections.abc import Callable, Iterator

from bench.cold import Figure
from bench.report import run
from bench.telemetry.coverage import coverage
from bench.telemetry.lines import lines
from bench.telemetry.metering import metering
from bench.telemetry.reported import reported
from bench.telemetry.warm import warm

MEASUREMENTS: dict[str, Callable[[], Iterator[Figure]]] = {
    "warm": warm,
    "coverage": coverage,
    "logs": lines,
    "metering": metering,
    "spans": reported,
}

if __name__ == "__main__":
    sys.exit(run(MEASUREMENTS, sys.argv[1:], "telemetry-"))

"""What of that which came is taken: whose it is, whether it is within its sender's measure, what was dropped."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple, TypeVar

from msgspec.structs import replace

from sampan.collector.intake.quota import Buckets, Room
from sampan.collector.senders import STRANGER, Sender, Who, sender_at
from sampan.model.errors import NoCapacity, SenderUnknown, Throttled
from sampan.model.trace import Span
from sampan.settings import Telemetry
from sampan.wire.otlp_logs import LogRecord
from sampan.wire.span_limits import Decoded

BYTES_RATE = 4 << 20  # a second, of one function: ten times what 2,000 spans a second take
SECOND_COST = 16 << 20  # bytes that a second of decoding counts for: a function has a quarter of a core for it
MESSAGE_COST = 4 << 10  # bytes that a request counts for at least: a thousand of them a second
DATAGRAM_COST = 1 << 10
BYTES_BURST = 32 << 20  # at once
HELD = 64 << 20  # bytes of bodies under way, of all
HELD_EACH = 16 << 20  # of one function
UNNAMED = "unknown_service"  # what OpenTelemetry calls a service that says nothing of itself
_T = TypeVar("_T")
_LONGEST_WAIT = 60.0  # seconds that anybody is told to wait


class Reason(Enum):
    """Why something was dropped, and what is counted."""

    RATE = "rate"  # spans and log records over the function's rate
    FULL = "full"  # spans and log records for which the store had no room
    INVALID = "invalid"  # spans without ids
    METRICS = "metrics"  # data points: metrics are not kept
    BYTES = "bytes"  # datagrams and requests of a sender that sends too many bytes
    MALFORMED = "malformed"  # datagrams and requests that cannot be read
    UNKNOWN = "unknown"  # datagrams and requests of addresses that are nobody's
    LATER = "later"  # requests sent back to be sent again
    CONNECTIONS = "connections"  # connections beyond the bound


class Verdict(NamedTuple):
    """What became of a message. why: "" where nothing was refused."""

    taken: int
    refused: int = 0
    why: str = ""


class Judge:
    """Between the doors and the store. All that is bounded per function is bounded here."""

    def __init__(
        self,
        who: Who,
        take: Callable[[Sequence[Span]], int],
        take_logs: Callable[[Sequence[LogRecord]], int],
        settings: Telemetry,
        clock: Callable[[], float],
    ) -> None:
        self.who, self._take, self._take_logs = who, take, take_logs
        self._rate = settings.span_rate
        self._spans = Buckets(settings.span_rate, settings.span_burst, clock)
        self._records = Buckets(settings.span_rate, settings.span_burst, clock)
        self._bytes = Buckets(BYTES_RATE, BYTES_BURST, clock)
        self.bodies = Room(HELD, HELD_EACH)
        self.dropped: Counter[tuple[str, str]] = Counter()
        self.taken: Counter[str] = Counter()

    # ── who, and how much of it ──

    def sender(self, address: str) -> Sender:
        """Raises: SenderUnknown."""
        try:
            return sender_at(address, self.who)
        except SenderUnknown:
            self.drop(STRANGER, Reason.UNKNOWN)
            raise

    def drop(self, sender: Sender, reason: Reason, count: int = 1) -> None:
        if count:
            self.dropped[sender.function, reason.value] += count

    def affords(self, sender: Sender) -> bool:
        """Whether it may send bytes now."""
        return not self._bytes(sender.function).wait()

    def charge(self, sender: Sender, size: int) -> None:
        """What it sends costs it, a message at least so much as its reading takes."""
        self._bytes(sender.function).charge(size)

    def charge_time(self, sender: Sender, seconds: float) -> None:
        """seconds: of a core. Bytes made to be slow cost what they take."""
        self.charge(sender, int(seconds * SECOND_COST))

    def seconds_in_debt(self, sender: Sender) -> float:
        return self._bytes(sender.function).wait(0)

    def check_bytes(self, sender: Sender) -> None:
        """Raises: Throttled."""
        wait = self._bytes(sender.function).wait()
        if wait:
            self.drop(sender, Reason.BYTES)
            raise Throttled(
                f"{_whose(sender)} reports more than {BYTES_RATE >> 20} MiB/s", min(wait, _LONGEST_WAIT)
            )

    # ── what is taken ──

    def take_spans(self, sender: Sender, decoded: Decoded, again: bool = False) -> Verdict:
        """again: a message refused as a whole comes once more. Raises, only then: Throttled, NoCapacity."""
        self.drop(sender, Reason.INVALID, decoded.invalid)
        spans = [_attributed(span, sender) for span in decoded.spans]
        verdict = self._judge(sender, spans, self._spans, self._take, again, "spans")
        if not decoded.invalid:
            return verdict
        why = f"{decoded.invalid} spans have no trace id or no span id" + (verdict.why and f"; {verdict.why}")
        return Verdict(verdict.taken, verdict.refused + decoded.invalid, why)

    def take_records(self, sender: Sender, records: Sequence[LogRecord], again: bool = False) -> Verdict:
        """As `take_spans`."""
        now = time.time_ns()
        mine = [
            replace(
                one,
                time=one.time or now,
                service=one.service or sender.function or UNNAMED,
                function=sender.function,
                version=sender.version,
                instance=sender.instance,
            )
            for one in records
        ]
        return self._judge(sender, mine, self._records, self._take_logs, again, "log records")

    def _judge(
        self,
        sender: Sender,
        given: Sequence[_T],
        buckets: Buckets,
        take: Callable[[Sequence[_T]], int],
        again: bool,
        what: str,
    ) -> Verdict:
        if not given:
            return Verdict(0)
        bucket, wanted = buckets(sender.function), len(given)
        granted = bucket.grant(wanted)
        if not granted and again:
            self.drop(sender, Reason.LATER)
            wait = min(bucket.wait(wanted), _LONGEST_WAIT)
            raise Throttled(f"{_whose(sender)} reports more than {self._rate:g} {what} a second", wait)
        took = take(given[:granted]) if granted else 0
        bucket.refund(granted - took)
        if granted and not took and again:
            self.drop(sender, Reason.LATER)
            raise NoCapacity(f"there is no room for {what} now")
        self.taken[sender.function] += took
        self.drop(sender, Reason.RATE, wanted - granted)
        self.drop(sender, Reason.FULL, granted - took)
        if took == wanted:
            return Verdict(took)
        why = (
            f"{_whose(sender)} reports more than {self._rate:g} {what} a second"
            if granted < wanted
            else f"there is no room for more {what} now"
        )
        return Verdict(took, wanted - took, why)


def _attributed(span: Span, sender: Sender) -> Span:
    """Whose a span is, is told by who sent it, whatever it says itself."""
    return replace(
        span,
        service=span.service or sender.function or UNNAMED,
        function=sender.function,
        version=sender.version,
        instance=sender.instance,
    )


def _whose(sender: Sender) -> str:
    return f"function '{sender.function}'" if sender.function else "this machine"

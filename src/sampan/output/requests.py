"""Whose request a line belongs to. Pure.

The gateway frames each request in its instance's stdout (gateway/frames.py). With one request at a time, what is
between the frames is that request's. Stderr has no frames: there the times decide, which are exact to `SLACK`.
Where more than one request may be meant, none is named.
"""

import re
from collections import deque

SLACK = 30_000_000  # nanoseconds; the engine looks at growing files every 20 ms
RECENT = 256  # requests remembered for stderr
MOST_OPEN = 1000  # no instance takes more requests at once

_FRAME = re.compile(r"FC Invoke (Start|End) RequestId: ([!-~]{1,128}?)(?:, Error: .*)?\s*\Z")


class Requests:
    """Those of one instance."""

    __slots__ = ("_most", "_open", "_recent", "_told")

    def __init__(self, open_: tuple[str, ...] = (), concurrency: int = 0, since: int = 0) -> None:
        """open_: under way where reading begins, since a time.  concurrency: of the instance; 0: unknown."""
        self._open: dict[str, int] = dict.fromkeys(open_, since)
        self._most = min(concurrency or MOST_OPEN, MOST_OPEN)
        self._recent: deque[tuple[str, int, int]] = deque(maxlen=RECENT)  # by their ends
        self._told: tuple[int, str] | None = None  # the last answer for stderr: many lines have one time

    @property
    def open(self) -> tuple[str, ...]:
        return tuple(self._open)

    def lost(self) -> None:
        """Part of stdout is missing: nothing is known of what is under way."""
        self._open.clear()
        self._told = None

    def stdout(self, text: str, time: int) -> str:
        """The request of the next line of stdout, "" where none is known. time: Unix ns, never falling."""
        frame = _FRAME.match(text) if text.startswith("FC Invoke ") else None
        if frame is None:
            return next(iter(self._open)) if len(self._open) == 1 else ""
        self._told = None
        word, request = frame.groups()
        if word == "Start":
            while len(self._open) >= self._most:  # an end that was never told
                oldest = next(iter(self._open))
                self._recent.append((oldest, self._open.pop(oldest), time))
            self._open[request] = time
        elif request in self._open:
            self._recent.append((request, self._open.pop(request), time))
        return request

    def stderr(self, time: int) -> str:
        """The only request that was under way at that time, "" where there is none or another."""
        if self._told is None or self._told[0] != time:
            self._told = time, self._at(time)
        return self._told[1]

    def _at(self, time: int) -> str:
        near = [span for span in self._open.items() if span[1] - SLACK <= time]
        inside = [request for request, begin in near if begin <= time]
        for request, begin, end in reversed(self._recent):
            if end + SLACK < time:
                break
            if begin - SLACK <= time:
                near.append((request, begin))
                if begin <= time <= end:
                    inside.append(request)
        found = [request for request, _ in near] if len(near) == 1 else inside
        return found[0] if len(found) == 1 else ""

"""What an exporter says in the log: when it begins to fail, now and then while it does, when it works again."""

import asyncio
from collections import Counter

from sampan.telemetry.logs import Log

log = Log("collector.export")

_SELDOM = 60.0  # seconds between two lines of a kind


class Notices:
    """Of one exporter. Counts what is not said, and says it with the next line."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._loop = asyncio.get_running_loop()
        self._failing = False
        self._next: dict[str, float] = {}
        self._dropped: Counter[str] = Counter()
        self._rejected = 0

    def fails(self, why: str, retry_in: float) -> None:
        self._failing = True
        if self._due("fails"):
            log.warning("export fails", target=self._target, why=why, next_try_s=round(retry_in, 1))

    def works(self) -> None:
        if self._failing:
            self._failing = False
            if self._due("works"):
                log.info("export works again", target=self._target)

    def dropped(self, reason: str, count: int) -> None:
        self._dropped[reason] += count
        if self._due("dropped"):
            log.warning("export drops", target=self._target, **self._dropped)
            self._dropped.clear()

    def partly(self, rejected: int, message: str) -> None:
        self._rejected += rejected
        if self._due("partly"):
            log.warning("export partly rejected", target=self._target, rejected=self._rejected, message=message)
            self._rejected = 0

    def _due(self, kind: str) -> bool:
        now = self._loop.time()
        if now < self._next.get(kind, 0.0):
            return False
        self._next[kind] = now + _SELDOM
        return True

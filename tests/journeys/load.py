"""Constant load on one URL; every answer that is not 200 and every broken connection is written down."""

import re
import threading
import time
from types import TracebackType
from typing import Self

import httpx

from tests.journeys.platform import Platform


class Load:
    """Runs while the `with` lasts. `wait`: not before `begin` is called."""

    def __init__(
        self, platform: Platform, function: str, path: str = "/", clients: int = 2, wait: bool = False
    ) -> None:
        self.failures: list[str] = []
        self.answers = 0
        self.generations: set[str] = set()  # values of GENERATION that answers told
        self._platform, self._function, self._path = platform, function, path
        self._begun, self._end = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(clients)]
        if not wait:
            self.begin()

    def begin(self) -> None:
        self._begun.set()

    def _call(self) -> None:
        self._begun.wait()
        while not self._end.is_set():
            try:
                answer = self._platform.get(self._function, self._path)
            except httpx.HTTPError as error:
                self.failures.append(repr(error))
            else:
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code} {answer.text[:300]}")
                self.generations.update(re.findall(r"GENERATION=(\d+)", answer.text[:4096]))
            self.answers += 1
            time.sleep(0.02)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._end.set()
        self._begun.set()
        for thread in self._threads:
            thread.join()

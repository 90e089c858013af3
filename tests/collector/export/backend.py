"""A back-end in memory, for tests in virtual time: it answers as it is told to, and keeps what it took."""

import asyncio
from collections.abc import Hashable, Sequence

import msgspec

from sampan.collector.export.transport import Taken

Item = str
Answer = Taken | Exception


class Backend:
    """A transport. Answers come in turn from `answers`; when there are no more, everything is taken."""

    def __init__(self, *answers: Answer, took: float = 0.0) -> None:
        """took: seconds that each request takes."""
        self.answers, self.took = list(answers), took
        self.requests: list[tuple[float, list[Item]]] = []  # when each began, and what it held
        self.taken: list[Item] = []
        self.at_once = self.most_at_once = 0
        self.closed = False
        self.answered = asyncio.Event()

    def key(self, item: Item) -> Hashable:
        if item == "odd":
            raise ValueError("this has no key")
        return item.partition("/")[0] if "/" in item else None

    def encode(self, items: Sequence[Item]) -> bytes:
        if "hostile" in items or "odd" in items:
            raise ValueError("this cannot be encoded")
        return msgspec.json.encode(list(items))

    async def send(self, body: bytes) -> Taken:
        items = msgspec.json.decode(body, type=list[str])
        self.requests.append((asyncio.get_running_loop().time(), items))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.took)
        finally:
            self.at_once -= 1
        answer = self.answers.pop(0) if self.answers else Taken()
        self.answered.set()
        if isinstance(answer, Exception):
            raise answer
        self.taken += items
        return answer

    async def close(self) -> None:
        self.closed = True

    def times(self) -> list[float]:
        return [round(when, 2) for when, _ in self.requests]

"""Who wants to hear that a function or a domain changed."""

import asyncio
from enum import Enum
from typing import NamedTuple
from weakref import WeakSet


class Kind(Enum):
    FUNCTION = "function"
    DOMAIN = "domain"


class Changed(NamedTuple):
    name: str
    kind: Kind = Kind.FUNCTION


class Subscription:
    """What changed, each once however often it did, in order of their first change.

    Begins when it is made, not when it is first waited on. Dropping it ends it.
    """

    def __init__(self) -> None:
        self._names: dict[Changed, None] = {}
        self._some = asyncio.Event()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Changed:
        while not self._names:
            self._some.clear()
            await self._some.wait()
        name = next(iter(self._names))
        del self._names[name]
        return name

    @property
    def waiting(self) -> bool:
        """Some have changed and were not handed out yet."""
        return bool(self._names)

    def add(self, changed: Changed) -> None:
        self._names[changed] = None
        self._some.set()


class Changes:
    """Tells every subscriber, in this process, what changed."""

    def __init__(self) -> None:
        self._subscriptions: WeakSet[Subscription] = WeakSet()

    def subscribe(self) -> Subscription:
        subscription = Subscription()
        self._subscriptions.add(subscription)
        return subscription

    def tell(self, name: str, kind: Kind = Kind.FUNCTION) -> None:
        for subscription in self._subscriptions:
            subscription.add(Changed(name, kind))

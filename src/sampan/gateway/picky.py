"""Waiters that cannot take just any slot: their session is in one instance, or needs room in one."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from sampan.model.errors import SampanError
from sampan.model.names import InstanceId

Fit = InstanceId | Callable[[InstanceId], bool]
"""The one instance that will do; or, asked of an instance only when a slot in it would be given: will it do?"""

Result = TypeVar("Result")
Free = TypeVar("Free")


class Vanished(SampanError):
    """The one instance that was waited for is no more."""


class Picky(Generic[Result]):
    """Those of one version. Their turn is kept by the pool, with that of all others."""

    def __init__(self) -> None:
        self.fits: dict[asyncio.Future[Result], Fit] = {}
        self.bound = 0  # how many wait for one certain instance
        self._of: dict[InstanceId, int] = {}

    def add(self, waiter: asyncio.Future[Result], fit: Fit) -> None:
        self.fits[waiter] = fit
        if isinstance(fit, str):
            self.bound += 1
            self._of[fit] = self._of.get(fit, 0) + 1

    def remove(self, waiter: asyncio.Future[Result]) -> None:
        fit = self.fits.pop(waiter, None)
        if isinstance(fit, str):
            self.bound -= 1
            self._of[fit] -= 1
            if not self._of[fit]:
                del self._of[fit]

    def waits_for_one(self, waiter: asyncio.Future[Result]) -> bool:
        return isinstance(self.fits.get(waiter), str)

    def of(self, instance: InstanceId) -> list[asyncio.Future[Result]]:
        """Who waits for it and no other."""
        if instance not in self._of:
            return []
        return [waiter for waiter, fit in self.fits.items() if fit == instance]

    def matches(
        self, waiters: Iterable[asyncio.Future[Result]], free: "OrderedDict[InstanceId, Free]"
    ) -> Iterator[tuple[asyncio.Future[Result], Free]]:
        """Waiters, the oldest first, each with what suits it; whom nothing suits is passed over.

        What is given away must be taken out of `free`, and out of the waiters, before the next is asked for.
        """
        for waiter in list(waiters):
            if not free:
                return
            found = None if waiter.done() else choose(self.fits.get(waiter), free)
            if found is not None:
                yield waiter, found

    def instances(self) -> tuple[InstanceId, ...]:
        """The certain instances that are waited for."""
        return tuple(sorted(self._of))


def choose(fit: Fit | None, free: "OrderedDict[InstanceId, Free]") -> Free | None:
    """What of `free` will do, the last one first. `fit` None: anything will."""
    if isinstance(fit, str):
        return free.get(fit)
    for instance in reversed(free):
        if fit is None or fit(instance):
            return free[instance]
    return None

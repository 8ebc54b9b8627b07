"""Combinators that look at the clock of the event loop."""

import asyncio
from typing import Final, TypeVar

from service.errors import ElapsedError
from service.streams.bell import Bell
from service.streams.polling import PENDING, HeldPull
from service.streams.result import Err, Ok
from service.streams.stage import Budget, Stage

T = TypeVar("T")


EARLY_S: Final = 1e-9
"""How much too early asyncio may fire a timer: the resolution of its clock."""


def now_s() -> float:
    """The time of the running loop's clock."""
    return asyncio.get_running_loop().time()


def reached(moment_s: float | None) -> bool:
    """Whether ``moment_s`` has come, for a timer that was set to it too; ``None`` never comes."""
    return moment_s is not None and now_s() >= moment_s - EARLY_S


class Timeout(Stage[Ok[T] | Err[ElapsedError]]):
    """Says when no item came in time; the source goes on and nothing of it is lost.

    Args:
        source: Asked before the clock is looked at, so an item that is there wins.
        timeout_s: Time for each item, counted from the one before it, the first from now.
        repeating: Say it again after every further ``timeout_s`` instead of once per item.
    """

    def __init__(self, source: Stage[T], timeout_s: float, *, repeating: bool) -> None:
        super().__init__(source)
        self._timeout_s = timeout_s
        self._repeating = repeating
        self._bell = Bell()
        self._held = HeldPull(source, self._own_children(self._bell.ring))
        self._deadline_s: float | None = now_s() + timeout_s

    async def _pull(self, limit: int) -> list[Ok[T] | Err[ElapsedError]] | None:
        while True:
            chunk = self._held.poll(limit)
            due = reached(self._deadline_s)
            if chunk is PENDING and due:
                await asyncio.sleep(0)  # what was sent just now is on its way to the held pull
                chunk = self._held.poll(limit)
            if chunk is None:
                return None
            if chunk is not PENDING:
                self._deadline_s = now_s() + self._timeout_s
                return [Ok(item) for item in chunk]
            if due:
                self._deadline_s = now_s() + self._timeout_s if self._repeating else None
                return [Err(ElapsedError(self._timeout_s))]
            self._held.hold(limit)
            await self._bell.wait(self._deadline_s)


class Throttle(Stage[T]):
    """Lets one item pass per ``period_s``; the source waits meanwhile."""

    def __init__(self, source: Stage[T], period_s: float) -> None:
        super().__init__(source)
        self._source = source
        self._period_s = period_s
        self._next_s: float | None = None
        self._bell = Bell()

    async def _pull(self, limit: int) -> list[T] | None:
        if self._period_s <= 0:
            return await self._source.pull(limit)
        while self._next_s is not None and not reached(self._next_s) and not self._over:
            await self._bell.wait(self._next_s)
        chunk = await self._source.pull(1)
        self._next_s = now_s() + self._period_s
        return chunk

    def _halt(self) -> None:
        self._bell.ring()


class ChunksTimeout(Stage[list[T]]):
    """Lists of ``size`` items, or of fewer when ``timeout_s`` passed since the first of them."""

    def __init__(self, source: Stage[T], size: int, timeout_s: float) -> None:
        super().__init__(source)
        self._size = size
        self._timeout_s = timeout_s
        self._bell = Bell()
        self._held = HeldPull(source, self._own_children(self._bell.ring))
        self._items: list[T] = []
        self._deadline_s: float | None = None
        self._finished = False
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[list[T]] | None:
        del limit
        while True:
            self._fill()
            if reached(self._deadline_s) and not self._full():
                await asyncio.sleep(0)  # what was sent just now is on its way to the held pull
                self._fill()
            if self._items and (self._finished or self._full() or reached(self._deadline_s)):
                items, self._items = self._items, []
                self._deadline_s = None
                return [items]
            if self._failure is not None:
                raise self._failure
            if self._finished:
                return None
            self._held.hold(self._size - len(self._items))
            await self._bell.wait(self._deadline_s)

    def _fill(self) -> None:
        """Take all that is there, before the clock is looked at."""
        while not self._finished and not self._full():
            try:
                chunk = self._held.poll(self._size - len(self._items))
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self._failure = error
                chunk = None
            if chunk is PENDING:
                return
            if chunk is None:
                self._finished = True
                return
            if self._deadline_s is None:
                self._deadline_s = now_s() + self._timeout_s
            self._items += chunk

    def _full(self) -> bool:
        return len(self._items) >= self._size


class Ticks(Stage[float]):
    """The moments ``start``, ``start + period``, …, each when it has come."""

    def __init__(self, period_s: float) -> None:
        super().__init__()
        self._period_s = period_s
        self._next_s = now_s()
        self._bell = Bell()
        self._budget = Budget()

    async def _pull(self, limit: int) -> list[float] | None:
        del limit
        await self._budget.renew()
        while not reached(self._next_s) and not self._over:
            await self._bell.wait(self._next_s)
        self._budget.spend(1)
        tick = self._next_s
        self._next_s += self._period_s
        return [tick]

    def _halt(self) -> None:
        self._bell.ring()

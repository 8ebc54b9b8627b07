"""Combinators that put items together: lists of items, pairs, one stream after another."""

import asyncio
from typing import Generic, TypeVar

from service.streams.bell import Bell
from service.streams.polling import PENDING, RESTING, HeldPull, Pending, Resting, poll
from service.streams.stage import CHUNK, Stage

T = TypeVar("T")
U = TypeVar("U")


class Chunks(Stage[list[T]]):
    """Lists of exactly ``size`` items, except the last."""

    def __init__(self, source: Stage[T], size: int) -> None:
        super().__init__(source)
        self._source = source
        self._size = size
        self._items: list[T] = []
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[list[T]] | None:
        del limit
        while self._failure is None and len(self._items) < self._size:
            try:
                chunk = await self._source.pull(self._size - len(self._items))
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self._failure = error
                break
            if chunk is None:
                break
            self._items += chunk
        if not self._items and self._failure is not None:
            raise self._failure
        items, self._items = self._items, []
        return [items] if items else None


class ReadyChunks(Chunks[T]):
    """Lists of what is there, up to ``size`` items; waits only for the first one of each."""

    async def _pull(self, limit: int) -> list[list[T]] | None:
        del limit
        if self._failure is not None:
            raise self._failure
        if not self._items:
            self._items = await self._source.pull(self._size) or []
        rested = False
        while self._items and len(self._items) < self._size:
            more = self._more(self._size - len(self._items))
            if more is RESTING and not rested:
                await asyncio.sleep(0)  # its turn is over, which does not mean that it is empty
                rested = True  # but one that rests and rests has nothing before it is waited for
            elif more is PENDING or more is RESTING or more is None:
                break
            else:
                self._items += more
                rested = False
        items, self._items = self._items, []
        return [items] if items else None

    def _more(self, count: int) -> list[T] | Pending | Resting | None:
        try:
            return poll(self._source.pull(count))
        except Exception as error:  # noqa: BLE001 -- raised after the items before it
            self._failure = error
            return None


class Chain(Stage[T]):
    """The items of one source, then those of the next, which is not asked before."""

    def __init__(self, *sources: Stage[T]) -> None:
        super().__init__(*sources)
        self._waiting = list(sources)

    async def _pull(self, limit: int) -> list[T] | None:
        while self._waiting:
            chunk = await self._waiting[0].pull(limit)
            if chunk is not None:
                return chunk
            del self._waiting[0]
        return None


class Zip(Stage[tuple[T, U]]):
    """Pairs of the items of two sources, both waited for at once; ends when either ends.

    Items of the longer source that were taken and find no partner are lost.
    """

    def __init__(self, first: Stage[T], second: Stage[U]) -> None:
        super().__init__(first, second)
        self._bell = Bell()
        children = self._own_children(self._bell.ring)
        self._first = _Side(HeldPull(first, children))
        self._second = _Side(HeldPull(second, children))

    async def _pull(self, limit: int) -> list[tuple[T, U]] | None:
        limit = min(limit, CHUNK)
        first, second = self._first, self._second
        while True:
            if not (first.fill(limit) and second.fill(len(first.items) or limit)):
                return None
            pairs = list(zip(first.items, second.items, strict=False))[:limit]
            if pairs:
                del first.items[: len(pairs)]
                del second.items[: len(pairs)]
                return pairs
            await self._bell.wait()


class _Side(Generic[T]):
    """The items of one source that wait for a partner."""

    def __init__(self, pull: HeldPull[T]) -> None:
        self.items: list[T] = []
        self._pull = pull

    def fill(self, limit: int) -> bool:
        """Take what is there if nothing waits; return whether a pair may still come of it."""
        if self.items:
            return True
        chunk = self._pull.poll(limit)
        if chunk is PENDING:
            self._pull.hold(limit)
            return True
        if chunk is None:
            return False
        self.items = chunk
        return True

"""Streams of streams: one after the other, or several at once."""

from collections.abc import Iterable
from typing import TypeVar

from service.streams.bell import Bell
from service.streams.children import Children
from service.streams.conversion import Streamable, close_unused, stage_of
from service.streams.polling import PENDING, HeldPull
from service.streams.race import Race
from service.streams.stage import CHUNK, Stage

T = TypeVar("T")


class Flatten(Stage[T]):
    """The items of every inner stream, strictly one stream after the other."""

    def __init__(self, source: Stage[Streamable[T]]) -> None:
        super().__init__(source)
        self._source = source
        self._waiting: list[Streamable[T]] = []  # reversed
        self._inner: Stage[T] | None = None

    async def _pull(self, limit: int) -> list[T] | None:
        while True:
            if self._inner is not None:
                chunk = await self._inner.pull(limit)
                if chunk is not None:
                    return chunk
                self._inner = None
            if not self._waiting:
                inners = await self._source.pull(CHUNK)
                if inners is None:
                    return None
                self._waiting = inners[::-1]
            self._inner = stage_of(self._waiting.pop())

    def _owned_stages(self) -> Iterable[Stage[object]]:
        return (*(() if self._inner is None else (self._inner,)), *self._sources)

    async def _release(self) -> None:
        for unused in self._waiting:
            await close_unused(unused)


class FlattenUnordered(Stage[T]):
    """The items of up to ``limit`` inner streams at once, as they come.

    The source is asked for a stream only when there is room for it.  Ends when the source and
    all inner streams have ended.  Cancel safety: no item is lost.
    """

    def __init__(self, source: Stage[Streamable[T]], limit: int) -> None:
        super().__init__(source)
        self._limit = limit
        self._bell = Bell()
        self._children = self._own_children(self._bell.ring)
        self._held = HeldPull(source, self._children)
        self._race = Race[int, T](self._bell)
        self._number = 0
        self._exhausted = False

    async def _pull(self, limit: int) -> list[T] | None:
        race = self._race
        while not race.failed():
            self._add_streams()
            items = race.in_turns(limit)
            if items:
                return items
            if self._exhausted and not race.runners:
                break
            if not race.failed() and not self._room_for_more():
                race.hold(race.share(limit))
                await self._bell.wait()
        if race.failure is not None:
            raise race.failure
        return None

    def _add_streams(self) -> None:
        while not self._exhausted and len(self._race) < self._limit:
            room = min(self._limit - len(self._race), CHUNK)
            try:
                inners = self._held.poll(room)
            except Exception as error:  # noqa: BLE001 -- raised after the items before it
                self._race.failure = error
                return
            if inners is PENDING:
                self._held.hold(room)
                return
            if inners is None:
                self._exhausted = True
                return
            for inner in inners:
                self._number += 1
                self._race.add(self._number, stage_of(inner))

    def _room_for_more(self) -> bool:
        """Whether streams ended while they were asked, so that others can take their place."""
        return not self._exhausted and not self._held.held and len(self._race) < self._limit

    def _owned_tasks(self) -> Iterable[Children]:
        return (*super()._owned_tasks(), *self._race.tasks())

    def _owned_stages(self) -> Iterable[Stage[object]]:
        return (*self._race.stages(), *self._sources)

    async def _release(self) -> None:
        for unused in self._held.leftover():
            await close_unused(unused)

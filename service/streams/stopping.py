"""``take_until``: end a stream from outside."""

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import TypeVar

from service.streams.bell import Bell
from service.streams.calls import drop
from service.streams.polling import PENDING, HeldPull
from service.streams.stage import Stage

T = TypeVar("T")


class TakeUntil(Stage[T]):
    """Items of the source until ``stop`` is done, which is looked at first.

    A coroutine is run, and cancelled with the stage; a future or task is only watched.  What
    ``stop`` returns or raises is of no interest.  An item that the source hands over at the
    same moment is dropped with the source.
    """

    def __init__(self, source: Stage[T], stop: Awaitable[object]) -> None:
        super().__init__(source)
        self._stop: Awaitable[object] | None = stop
        self._watched: asyncio.Future[object] | None = None
        self._bell = Bell()
        self._children = self._own_children(self._bell.ring)
        self._held = HeldPull(source, self._children)
        self._stopped = False

    async def _pull(self, limit: int) -> list[T] | None:
        if self._stop is not None:
            self._watch(self._stop)
            self._stop = None
            await asyncio.sleep(0)  # a stop that is done already comes before the first item
        while not self._has_stopped():
            chunk = self._held.poll(limit)
            if chunk is not PENDING:
                return chunk
            self._held.hold(limit)
            await self._bell.wait()
        return None

    def _has_stopped(self) -> bool:
        # not only what its callback has said: that comes a turn of the loop later
        return self._stopped or (self._watched is not None and self._watched.done())

    def _watch(self, stop: Awaitable[object]) -> None:
        if isinstance(stop, asyncio.Future):
            self._watched = stop
            stop.add_done_callback(self._note_end)
        else:
            self._children.start(self._run(stop))

    async def _run(self, stop: Awaitable[object]) -> None:
        try:
            with contextlib.suppress(Exception):  # that it ended counts, not how
                await stop
        finally:
            self._note_end()

    def _note_end(self, _: object = None) -> None:
        self._stopped = True
        self._bell.ring()

    def _halt(self) -> None:
        if self._watched is not None:  # which may live much longer than this stream
            self._watched.remove_done_callback(self._note_end)

    async def _release(self) -> None:
        if isinstance(self._stop, Coroutine):
            drop(self._stop)

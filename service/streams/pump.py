"""A stage that is written as an async generator, and cancel-safe all the same.

Cancelling the ``anext`` of an async generator ends the generator for good.  So the generator is
driven by a task of its own, which goes on to the next item only when it is asked for; what is
cancelled is the wait for it.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias, TypeVar

from service.errors import StreamError
from service.streams.bell import Bell
from service.streams.children import was_cancelled
from service.streams.stage import CHUNK, Stage

T = TypeVar("T")

Demand: TypeAlias = Callable[[], int]
"""How many items the consumer waits for right now; at least 1."""


class Pump(Stage[T]):
    """The items of an async iterator that runs in a task of its own.

    The iterator runs while items are asked for; when an item that is on its way finds nobody
    waiting any more, the iterator pauses after it.  Closing cancels and awaits the task, which
    closes the iterator.

    Args:
        start: Makes the iterator, on the first pull.
        sources: The stages that the iterator pulls from.
    """

    def __init__(
        self, start: Callable[[Demand], AsyncIterator[T]], *sources: Stage[object]
    ) -> None:
        super().__init__(*sources)
        self._start = start
        self._bell = Bell()
        self._children = self._own_children(self._bell.ring)
        self._items: list[T] = []
        self._wanted = 0
        self._more: asyncio.Future[None] | None = None
        self._running = False
        self._finished = False
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[T] | None:
        while not self._items:
            if self._finished:
                if self._failure is not None:
                    raise self._failure
                return None
            if self._children.stopped:
                return None
            self._ask(min(limit, CHUNK))
            try:
                await self._bell.wait()
            finally:
                self._wanted = 0
        chunk = self._items[:limit]
        del self._items[:limit]
        return chunk

    def _ask(self, count: int) -> None:
        self._wanted = count
        if not self._running:
            self._running = True
            self._children.start(self._run())
        elif self._more is not None and not self._more.done():
            self._more.set_result(None)

    def _demand(self) -> int:
        return max(1, self._wanted - len(self._items))

    async def _run(self) -> None:
        items: AsyncIterator[T] | None = None
        try:
            items = self._start(self._demand)
            async for item in items:
                self._items.append(item)
                self._bell.ring()
                if self._children.stopped:
                    break  # it has answered its cancellation with an item
                if len(self._items) >= self._wanted:
                    await self._until_asked()
        except asyncio.CancelledError as error:
            if self._children.stopped:
                raise
            self._failure = StreamError("a generator was cancelled from inside")
            self._failure.__cause__ = error
            if was_cancelled():
                raise  # by nobody who owns it: whoever it was waits for its end
        except Exception as error:  # noqa: BLE001 -- the consumer raises it
            self._failure = error
        finally:
            await self._close(items)
            self._finished = True
            self._bell.ring()

    async def _close(self, items: object) -> None:
        close = getattr(items, "aclose", None)
        try:
            if close is not None:
                await close()
        except Exception as error:  # noqa: BLE001 -- the consumer raises it
            self._failure = self._failure or error
        if self._failure is not None and self._children.stopped:  # there is no consumer any more
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a generator failed while it was closed", "exception": self._failure}
            )

    async def _until_asked(self) -> None:
        self._more = asyncio.get_running_loop().create_future()
        await self._more
        self._more = None

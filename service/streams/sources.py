"""Stages at the start of a stream that need no task: iterables, held items, receivers."""

from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Protocol, TypeVar

from service.streams.stage import CHUNK, Budget, Stage

T = TypeVar("T")


class IterSource(Stage[T]):
    """The items of an iterable, taken from it no sooner than they are asked for.

    An exception of the iterable reaches the consumer after the items before it.
    """

    def __init__(self, items: Iterable[T]) -> None:
        super().__init__()
        self._items = iter(items)
        self._budget = Budget()
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[T] | None:
        await self._budget.renew()
        if self._failure is not None:
            raise self._failure
        chunk: list[T] = []
        try:
            chunk.extend(islice(self._items, min(limit, CHUNK)))
        except Exception as error:
            if not chunk:
                raise
            self._failure = error
        self._budget.spend(len(chunk))
        return chunk or None


class Prefixed(Stage[T]):
    """Items that were taken already, then the rest of the source they came from."""

    def __init__(self, items: Iterable[T], source: Stage[T]) -> None:
        super().__init__(source)
        self._items = list(items)
        self._source = source

    async def _pull(self, limit: int) -> list[T] | None:
        if not self._items:
            return await self._source.pull(limit)
        chunk = self._items[:limit]
        del self._items[:limit]
        return chunk


class BatchReceiver(Protocol[T]):
    """What a stream needs of the receiving end of a channel."""

    async def recv_many(self, buffer: list[T], limit: int) -> int:
        """Append 1 to ``limit`` items to ``buffer`` and return how many; 0 means finished."""
        ...

    def close(self) -> None:
        """Refuse new items; what is buffered can still be received."""
        ...

    async def aclose(self) -> None:
        """Drop the receiving end and what is buffered."""
        ...


class WeighedReceiver(BatchReceiver[T], Protocol[T]):
    """The receiving end of a channel that weighs its items."""

    async def recv_weighed(self, buffer: list[T], slots: int, size_bytes: int) -> int:
        """:meth:`recv_many`, of one item or of several that weigh no more together."""
        ...


class ReceiverSource(Stage[T]):
    """The items of a channel, up to ``chunk`` at a time, until it is closed and drained.

    Args:
        receiver: Its receiving end.
        chunk: Most that one call of ``recv`` is asked for.
        recv: Appends items to a list and says how many; ``recv_many`` of ``receiver`` by default.
    """

    def __init__(
        self,
        receiver: BatchReceiver[T],
        chunk: int,
        recv: Callable[[list[T], int], Awaitable[int]] | None = None,
    ) -> None:
        super().__init__()
        self._receiver = receiver
        self._recv = receiver.recv_many if recv is None else recv
        self._chunk = chunk
        self._budget = Budget()

    async def _pull(self, limit: int) -> list[T] | None:
        await self._budget.renew()
        items: list[T] = []
        count = await self._recv(items, min(limit, self._chunk))
        self._budget.spend(count)
        return items if count else None

    async def _release(self) -> None:
        await self._receiver.aclose()

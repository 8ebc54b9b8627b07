"""Methods that run a stream to its end, or to an answer, and close it."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import Protocol, TypeVar, cast, overload

from service.streams.owned import Owned
from service.streams.stage import ANY

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)
A = TypeVar("A")
B = TypeVar("B")


class BatchSender(Protocol[T_contra]):
    """What a stream needs of the sending end of a channel."""

    async def send_many(self, items: Sequence[T_contra]) -> None:
        """Send every item, waiting while the channel is full."""
        ...

    async def aclose(self) -> None:
        """Close this sender."""
        ...


class Finishers(Owned[T_co]):
    """``for_each``, ``collect`` and their like.

    Each consumes the stream and closes it, also when it is cancelled or a function raises.
    Functions may be sync or async; they are called for one item after the other.
    """

    async def for_each(self, function: Callable[[T_co], Awaitable[object] | object]) -> None:
        """Call ``function(item)`` for every item; the next one waits until it is done."""
        async with self:
            while (chunk := await self._pull(ANY)) is not None:
                for item in chunk:
                    answer = function(item)
                    if answer is not None and isawaitable(answer):
                        await answer

    async def for_each_chunk(
        self, function: Callable[[list[T_co]], Awaitable[object] | object]
    ) -> None:
        """Call ``function(items)`` for every chunk; the next is pulled when it is done."""
        async with self:
            while (chunk := await self._pull(ANY)) is not None:
                answer = function(chunk)
                if answer is not None and isawaitable(answer):
                    await answer

    async def forward(self, sender: "BatchSender[T_co]") -> None:
        """Send all items, waiting while the channel is full, then close ``sender``.

        Cancel safety: closes both, so items on their way are lost; do not cancel it to pause.

        Raises:
            ChannelClosedError: If the receiving end is gone; carries what was not sent.
        """
        try:
            await self.for_each_chunk(sender.send_many)
        finally:
            await sender.aclose()

    async def collect(self) -> list[T_co]:
        """Return all items."""
        async with self:
            items: list[T_co] = []
            while (chunk := await self._pull(ANY)) is not None:
                items += chunk
            return items

    async def count(self) -> int:
        """Return how many items there are."""
        async with self:
            total = 0
            while (chunk := await self._pull(ANY)) is not None:
                total += len(chunk)
            return total

    @overload
    async def fold(self, initial: A, function: Callable[[A, T_co], A]) -> A: ...

    @overload
    async def fold(self, initial: A, function: Callable[[A, T_co], Awaitable[A]]) -> A: ...

    async def fold(self, initial: A, function: Callable[[A, T_co], Awaitable[A] | A]) -> A:
        """Return ``function(… function(function(initial, first), second) …, last)``."""
        async with self:
            state = initial
            while (chunk := await self._pull(ANY)) is not None:
                for item in chunk:
                    answer = function(state, item)
                    state = cast("A", await answer if isawaitable(answer) else answer)
            return state

    async def any(self, predicate: Callable[[T_co], Awaitable[object] | object]) -> bool:
        """Return whether ``predicate(item)`` is true for an item, asking none after it."""
        async with self:
            while (chunk := await self._pull(ANY)) is not None:
                for item in chunk:
                    answer = predicate(item)
                    if await answer if isawaitable(answer) else answer:
                        return True
            return False

    async def all(self, predicate: Callable[[T_co], Awaitable[object] | object]) -> bool:
        """Return whether ``predicate(item)`` is true for every item, stopping at the first not."""
        async with self:
            while (chunk := await self._pull(ANY)) is not None:
                for item in chunk:
                    answer = predicate(item)
                    if not (await answer if isawaitable(answer) else answer):
                        return False
            return True

    async def concat(self: "Owned[list[A]]") -> list[A]:
        """Return the items of all lists in one; an empty list if there is none."""
        async with self:
            items: list[A] = []
            while (chunk := await self._pull(ANY)) is not None:
                for part in chunk:
                    items += part
            return items

    async def unzip(self: "Owned[tuple[A, B]]") -> tuple[list[A], list[B]]:
        """Return the first and the second halves of all pairs."""
        async with self:
            first: list[A] = []
            second: list[B] = []
            while (chunk := await self._pull(ANY)) is not None:
                first += [pair[0] for pair in chunk]
                second += [pair[1] for pair in chunk]
            return first, second

"""Streams made of nothing but Python values."""

from collections.abc import Callable, Iterable
from itertools import repeat as _repeat
from typing import Never, TypeVar

from service.streams.bell import Bell
from service.streams.sources import IterSource
from service.streams.stage import Stage
from service.streams.stream import Stream

T = TypeVar("T")


def iter(items: Iterable[T]) -> Stream[T]:  # noqa: A001 -- the name that the field knows it by
    """Return the items of an iterable, taken from it up to a chunk ahead of the consumer.

    An iterable that blocks blocks the event loop; give it to a thread and use a channel.
    """
    return Stream(IterSource(items))


def once(item: T) -> Stream[T]:
    """Return a stream of one item."""
    return Stream(IterSource((item,)))


def empty() -> Stream[Never]:
    """Return a stream that ends at once."""
    return Stream(IterSource(()))


def repeat(item: T) -> Stream[T]:
    """Return ``item`` again and again without end."""
    return Stream(IterSource(_repeat(item)))


def repeat_with(function: Callable[[], T]) -> Stream[T]:
    """Return ``function()`` again and again without end, up to a chunk ahead of the consumer."""
    return Stream(IterSource(_calls(function)))


def pending() -> Stream[Never]:
    """Return a stream that never has an item and never ends."""
    return Stream(_Pending())


def _calls(function: Callable[[], T]) -> Iterable[T]:
    while True:
        yield function()


class _Pending(Stage[Never]):
    def __init__(self) -> None:
        super().__init__()
        self._bell = Bell()

    async def _pull(self, limit: int) -> list[Never] | None:
        del limit
        await self._bell.wait()
        return None

    def _halt(self) -> None:
        self._bell.ring()  # closed: nobody else rings

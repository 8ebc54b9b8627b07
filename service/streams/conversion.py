"""What can stand where a stream is expected: a stream, an async iterable, an iterable."""

from collections.abc import AsyncIterable, Iterable
from typing import TypeAlias, TypeVar

from service.streams.owned import Owned
from service.streams.pump import Pump
from service.streams.sources import IterSource
from service.streams.stage import Stage

T = TypeVar("T")

Streamable: TypeAlias = Owned[T] | AsyncIterable[T] | Iterable[T]
"""A stream (which is moved), or anything that ``for`` or ``async for`` can go through."""


def stage_of(items: Streamable[T]) -> Stage[T]:
    """Take over a stream, or make a stage of an iterable."""
    if isinstance(items, Owned):
        return items._into_stage()  # noqa: SLF001 -- moving is a matter among streams
    if isinstance(items, AsyncIterable):
        return Pump(lambda _: aiter(items))
    return IterSource(items)


async def close_unused(items: object) -> None:
    """Close a stream that was an item and will not be looked at."""
    if isinstance(items, Owned):
        await items.aclose()

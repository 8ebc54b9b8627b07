"""Combinators that wait for a coroutine per item, one after the other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from service.streams.pump import Demand, Pump
from service.streams.stage import Stage

T = TypeVar("T")
U = TypeVar("U")
Step = Callable[[T], Awaitable[U]]


def then(source: Stage[T], function: Step[T, U]) -> Stage[U]:
    """Replace every item by the awaited result."""

    async def run(demand: Demand) -> AsyncIterator[U]:
        while (chunk := await source.pull(demand())) is not None:
            for item in chunk:
                yield await function(item)

    return Pump(run, source)


def filter_async(source: Stage[T], predicate: Step[T, object]) -> Stage[T]:
    """Keep the items for which the awaited answer is true."""

    async def run(demand: Demand) -> AsyncIterator[T]:
        while (chunk := await source.pull(demand())) is not None:
            for item in chunk:
                if await predicate(item):
                    yield item

    return Pump(run, source)


def take_while_async(source: Stage[T], predicate: Step[T, object]) -> Stage[T]:
    """End at the first item for which the awaited answer is false."""

    async def run(demand: Demand) -> AsyncIterator[T]:
        while (chunk := await source.pull(demand())) is not None:
            for item in chunk:
                if not await predicate(item):
                    return
                yield item

    return Pump(run, source)


def skip_while_async(source: Stage[T], predicate: Step[T, object]) -> Stage[T]:
    """Drop items until the awaited answer is false for one."""

    async def run(demand: Demand) -> AsyncIterator[T]:
        skipping = True
        while (chunk := await source.pull(demand())) is not None:
            for item in chunk:
                skipping = skipping and bool(await predicate(item))
                if not skipping:
                    yield item

    return Pump(run, source)

"""Streams of code that waits: a generator with several awaits, an async iterable, a state."""

import functools
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import ParamSpec, TypeVar

from service.streams.pump import Demand, Pump
from service.streams.result import Err, Ok, Result
from service.streams.stream import Stream

T = TypeVar("T")
S = TypeVar("S")
E = TypeVar("E")
P = ParamSpec("P")


def stream(function: Callable[P, AsyncIterator[T]]) -> Callable[P, Stream[T]]:
    """Turn an async generator function into a function that returns a stream.

    The generator runs in a task of its own, only while items are asked for; its ``finally``
    runs when the stream ends or is closed, in the same task.  As in any async generator, do not
    ``yield`` inside ``asyncio.timeout`` or a task group (PEP 789).

    Cancel safety: cancelling the wait for an item neither ends the generator nor loses the item.

    >>> @stream
    ... async def countdown(start: int) -> AsyncIterator[int]:
    ...     for number in range(start, 0, -1):
    ...         yield number
    >>> import asyncio
    >>> asyncio.run(countdown(3).collect())
    [3, 2, 1]
    """

    @functools.wraps(function)
    def make(*args: P.args, **kwargs: P.kwargs) -> Stream[T]:
        return Stream(Pump(lambda _: function(*args, **kwargs)))

    return make


def from_async(items: AsyncIterable[T]) -> Stream[T]:
    """Return the items of any async iterable, which runs in a task of its own.

    Cancel safety: cancelling the wait for an item neither ends the iterable nor loses the item.
    """
    return Stream(Pump(lambda _: aiter(items)))


def unfold(state: S, function: Callable[[S], Awaitable[tuple[T, S] | None]]) -> Stream[T]:
    """Return the items of ``function(state)``, which gives an item and the next state.

    ``None`` instead of the pair ends the stream.
    """

    async def run(_: Demand) -> AsyncIterator[T]:
        current = state
        while (step := await function(current)) is not None:
            item, current = step
            yield item

    return Stream(Pump(run))


def try_unfold(
    state: S, function: Callable[[S], Awaitable[Result[tuple[T, S] | None, E]]]
) -> Stream[Ok[T] | Err[E]]:
    """Return ``Ok`` items like ``unfold``; the first ``Err`` is the last item."""

    async def run(_: Demand) -> AsyncIterator[Ok[T] | Err[E]]:
        current = state
        while True:
            step = await function(current)
            if isinstance(step, Err):
                yield step
                return
            if step.value is None:
                return
            item, current = step.value
            yield Ok(item)

    return Stream(Pump(run))

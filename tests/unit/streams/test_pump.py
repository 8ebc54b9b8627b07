"""Generators that do not behave, and iterators that cannot be closed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from service import streams
from service.errors import StreamError
from tests.unit.streams.feed import settle


async def test_a_generator_that_answers_its_cancellation_with_an_item_is_closed() -> None:
    events: list[str] = []

    @streams.stream
    async def stubborn() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            yield "last words"
        finally:
            events.append("closed")

    stream = stubborn()
    waiting = asyncio.get_running_loop().create_task(anext(stream, None))
    await settle()

    await stream.aclose()

    assert events == ["closed"]
    await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}


class Unclosable:
    """An async iterator of one item whose ``aclose`` fails."""

    def __init__(self) -> None:
        self._left = 1

    def __aiter__(self) -> "Unclosable":
        return self

    async def __anext__(self) -> int:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        return 1

    async def aclose(self) -> None:
        raise ConnectionError("cannot be closed")


async def test_an_iterator_that_cannot_be_closed_fails_the_stream_after_its_items() -> None:
    stream = streams.from_async(Unclosable())

    assert await anext(stream) == 1
    with pytest.raises(ConnectionError, match="closed"):
        await anext(stream)


async def test_what_a_generator_raises_while_it_is_closed_is_told_to_the_loop() -> None:
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))

    @streams.stream
    async def untidy() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(1000)
        finally:
            raise OSError("disk full")

    async with untidy() as stream:
        assert await anext(stream) == 1

    loop.set_exception_handler(None)
    assert [str(context["exception"]) for context in told] == ["disk full"]


async def test_a_generator_that_a_stranger_cancels_fails_the_stream() -> None:
    tasks: list[asyncio.Task[Any]] = []

    @streams.stream
    async def generated() -> AsyncIterator[int]:
        current = asyncio.current_task()
        assert current is not None
        tasks.append(current)
        await asyncio.sleep(1000)
        yield 1

    stream = generated()
    waiting = asyncio.get_running_loop().create_task(anext(stream))
    await settle()

    tasks[0].cancel()

    with pytest.raises(StreamError, match="from inside"):
        await waiting


async def test_a_generator_may_close_its_own_stream() -> None:
    @streams.stream
    async def closes() -> AsyncIterator[int]:
        await stream.aclose()
        yield 1

    stream = closes().map(str)

    assert await stream.collect() == []
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}

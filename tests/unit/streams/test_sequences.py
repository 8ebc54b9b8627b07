import asyncio
from collections.abc import AsyncIterator

import pytest

from service import streams
from service.errors import StreamError
from service.streams import Err, Ok, ReceiverStream
from tests.unit.streams.feed import Feed, settle


async def slowly(item: int) -> int:
    await asyncio.sleep(1)
    return item * 10


async def is_small(item: int) -> bool:
    await asyncio.sleep(1)
    return item < 3


async def test_then_runs_one_at_a_time() -> None:
    assert await streams.iter([1, 2, 3]).then(slowly).collect() == [10, 20, 30]
    assert asyncio.get_running_loop().time() == 3.0


async def test_then_hands_out_each_result_when_it_is_there() -> None:
    async with streams.iter([1, 2, 3]).then(slowly) as stream:
        assert await anext(stream) == 10
        assert asyncio.get_running_loop().time() == 1.0


async def test_a_coroutine_goes_on_while_the_wait_for_it_is_cancelled() -> None:
    started: list[int] = []

    async def once(item: int) -> int:
        started.append(item)
        await asyncio.sleep(1)
        return item

    async with streams.iter([1]).then(once) as stream:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await anext(stream)

        assert await anext(stream) == 1
    assert started == [1]
    assert asyncio.get_running_loop().time() == 1.0


async def test_async_predicates() -> None:
    assert await streams.iter([1, 5, 2]).filter_async(is_small).collect() == [1, 2]
    assert await streams.iter([1, 5, 2]).take_while_async(is_small).collect() == [1]
    assert await streams.iter([1, 5, 2]).skip_while_async(is_small).collect() == [5, 2]


async def test_str_03_skip_while_yields_the_first_item_that_fails() -> None:
    assert await streams.iter([1, 5, 2]).skip_while(lambda n: n < 3).collect() == [5, 2]


async def test_filter_map_async_drops_none() -> None:
    async def half(item: int) -> int | None:
        return None if item % 2 else item // 2

    assert await streams.iter(range(5)).filter_map_async(half).collect() == [0, 1, 2]


async def test_an_exception_comes_after_the_results_before_it() -> None:
    async def divide(item: int) -> int:
        return 6 // item

    stream = streams.iter([2, 0, 3]).then(divide)

    assert await anext(stream) == 3
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
    assert await stream.collect() == []


async def test_a_cancellation_from_inside_is_an_error() -> None:
    async def cancelled(_: int) -> int:
        raise asyncio.CancelledError

    with pytest.raises(StreamError, match="from inside"):
        await streams.iter([1]).then(cancelled).collect()


async def test_closing_runs_the_finally_of_a_generator() -> None:
    events: list[str] = []

    @streams.stream
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.sleep(1000)
            yield 2
        finally:
            await asyncio.sleep(1)
            events.append("cleaned up")

    async with numbers() as stream:
        assert await anext(stream) == 1

    assert events == ["cleaned up"]
    assert asyncio.get_running_loop().time() == 1.0


async def test_a_generator_runs_only_while_items_are_asked_for() -> None:
    made: list[int] = []

    @streams.stream
    async def numbers() -> AsyncIterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    async with numbers() as stream:
        loan = stream.by_ref()
        assert [await anext(loan), await anext(loan)] == [0, 1]
        await settle()

        assert made == [0, 1]


async def test_a_generator_keeps_its_name_and_arguments() -> None:
    @streams.stream
    async def count_to(limit: int, *, step: int = 1) -> AsyncIterator[int]:
        """Count."""
        for number in range(0, limit, step):
            yield number

    assert await count_to(5, step=2).collect() == [0, 2, 4]
    assert count_to.__doc__ == "Count."


async def test_unfold_ends_at_none() -> None:
    async def countdown(state: int) -> tuple[str, int] | None:
        await asyncio.sleep(1)
        return (str(state), state - 1) if state else None

    assert await streams.unfold(3, countdown).collect() == ["3", "2", "1"]


async def test_try_unfold_ends_after_its_error() -> None:
    async def step(state: int) -> Ok[tuple[int, int] | None] | Err[str]:
        return Err("enough") if state > 2 else Ok((state, state + 1))

    assert await streams.try_unfold(1, step).collect() == [Ok(1), Ok(2), Err("enough")]


async def test_try_unfold_ends_at_none() -> None:
    async def step(state: int) -> Ok[tuple[int, int] | None] | Err[str]:
        return Ok((state, state + 1) if state < 2 else None)

    assert await streams.try_unfold(0, step).collect() == [Ok(0), Ok(1)]


async def test_any_async_iterable_becomes_a_stream() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    assert await streams.from_async(numbers()).collect() == [1, 2]
    assert await streams.iter([0]).chain(numbers()).collect() == [0, 1, 2]


async def test_a_second_consumer_of_a_generator_is_refused() -> None:
    async with ReceiverStream(Feed[int]()).then(slowly) as stream:
        first = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        with pytest.raises(StreamError, match="another task"):
            await anext(stream)
        first.cancel()

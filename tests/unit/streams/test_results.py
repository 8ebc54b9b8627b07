import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service import streams
from service.streams import Err, Ok, Partial, Stream
from tests.unit.streams.feed import Feed, settle

Item = Ok[int] | Err[str]


def mixed() -> Stream[Item]:
    items: list[Item] = [Ok(1), Err("bad"), Ok(2), Ok(3)]
    return streams.iter(items)


async def double(value: int) -> Item:
    await asyncio.sleep(1)
    return Err("two") if value == 2 else Ok(value * 2)


async def test_str_24_an_error_does_not_end_a_stream() -> None:
    assert await mixed().map_ok(lambda n: n * 2).collect() == [Ok(2), Err("bad"), Ok(4), Ok(6)]


async def test_errors_can_be_mapped_and_both_can_be_looked_at() -> None:
    seen: list[object] = []

    items = await mixed().inspect_ok(seen.append).inspect_err(seen.append).map_err(len).collect()

    assert items == [Ok(1), Err(3), Ok(2), Ok(3)]
    assert seen == [1, "bad", 2, 3]


async def test_and_then_may_make_errors_and_or_else_may_repair_them() -> None:
    async def repair(error: str) -> Ok[int] | Err[str]:
        return Ok(0) if error == "bad" else Err(error)

    assert await mixed().and_then(double).collect() == [Ok(2), Err("bad"), Err("two"), Ok(6)]
    assert await mixed().or_else(repair).collect() == [Ok(1), Ok(0), Ok(2), Ok(3)]


async def test_filters_look_at_values_and_let_errors_pass() -> None:
    assert await mixed().try_filter(lambda n: n > 1).collect() == [Err("bad"), Ok(2), Ok(3)]
    assert await mixed().try_filter_map(lambda n: n * 2 if n > 2 else None).collect() == [
        Err("bad"),
        Ok(6),
    ]
    assert await mixed().try_take_while(lambda n: n < 2).collect() == [Ok(1), Err("bad")]
    assert await mixed().try_skip_while(lambda n: n < 3).collect() == [Err("bad"), Ok(3)]


async def test_try_flatten_goes_through_the_values_and_passes_errors() -> None:
    items: list[Ok[list[Item]] | Err[str]] = [Ok([Ok(1), Err("inner")]), Err("outer"), Ok([Ok(2)])]

    flat = await streams.iter(items).try_flatten().collect()
    unordered = await streams.iter(items).try_flatten_unordered(2).collect()

    assert flat == [Ok(1), Err("inner"), Err("outer"), Ok(2)]
    assert sorted(map(repr, unordered)) == sorted(map(repr, flat))


async def test_try_chunks_hands_over_what_it_had_when_an_error_came() -> None:
    items: list[Item] = [Ok(1), Ok(2), Ok(3), Err("bad"), Ok(4)]

    chunks = await streams.iter(items).try_chunks(2).collect()

    assert chunks == [Ok([1, 2]), Err(Partial([3], "bad")), Ok([4])]


async def test_try_ready_chunks_does_not_wait() -> None:
    feed = Feed[Item](Ok(1), Ok(2))
    async with streams.ReceiverStream(feed).try_ready_chunks(5) as stream:
        assert await anext(stream) == Ok([1, 2])
        feed.push(Ok(3), Err("bad"))
        assert await anext(stream) == Err(Partial([3], "bad"))


async def test_try_buffered_keeps_errors_in_their_place() -> None:
    items: list[Ok[Callable[[], Awaitable[Item]]] | Err[str]] = [
        Ok(lambda: double(1)),
        Err("bad"),
        Ok(lambda: double(3)),
    ]

    assert await streams.iter(items).try_buffered(3).collect() == [Ok(2), Err("bad"), Ok(6)]
    assert asyncio.get_running_loop().time() == 1.0


async def test_try_buffer_unordered_passes_errors_at_once() -> None:
    items: list[Ok[Callable[[], Awaitable[Item]]] | Err[str]] = [Ok(lambda: double(1)), Err("bad")]
    async with streams.iter(items).try_buffer_unordered(3) as stream:
        assert await anext(stream) == Err("bad")
        assert asyncio.get_running_loop().time() == 0.0
        assert await anext(stream) == Ok(2)


async def test_catch_makes_the_exception_the_last_item() -> None:
    items = await streams.iter([1, 0, 1]).map(lambda n: 1 // n).catch().collect()

    assert items[0] == Ok(1)
    assert isinstance(items[1], Err)
    assert isinstance(items[1].error, ZeroDivisionError)
    assert len(items) == 2


async def test_finishers_stop_at_the_first_error_and_give_it_back() -> None:
    seen: list[int] = []

    def see(value: int) -> Ok[None] | Err[str]:
        seen.append(value)
        return Ok(None)

    def add(total: int, value: int) -> Ok[int] | Err[str]:
        return Ok(total + value)

    assert await mixed().try_collect() == Err("bad")
    assert await mixed().try_for_each(see) == Err("bad")
    assert seen == [1]
    assert await mixed().try_fold(0, add) == Err("bad")
    assert await mixed().try_all(bool) == Err("bad")
    assert await mixed().try_any(lambda n: n > 1) == Err("bad")
    assert await mixed().try_any(bool) == Ok(value=True)
    assert await mixed().try_all(lambda n: n > 1) == Ok(value=False)


async def test_finishers_stop_at_an_error_of_their_function() -> None:
    values = [Ok(1), Ok(2), Ok(3)]

    async def add(total: int, value: int) -> Ok[int] | Err[str]:
        result = await double(value)
        return Ok(total + result.value) if isinstance(result, Ok) else result

    assert await streams.iter(values).try_for_each(double) == Err("two")
    assert await streams.iter(values).try_fold(0, add) == Err("two")
    assert await streams.iter(values).try_for_each_concurrent(None, double) == Err("two")


async def test_finishers_return_ok_when_all_is_well() -> None:
    values = [Ok(1), Ok(3)]

    assert await streams.iter(values).try_collect() == Ok([1, 3])
    assert await streams.iter(values).try_for_each(double) == Ok(None)
    assert await streams.iter(values).try_for_each_concurrent(2, double) == Ok(None)
    assert await streams.iter(values).try_fold("", lambda s, n: Ok(f"{s}{n}")) == Ok("13")
    assert await streams.iter([Ok([1]), Ok([2, 3])]).try_concat() == Ok([1, 2, 3])
    assert await streams.iter(values).try_any(lambda n: n > 5) == Ok(value=False)
    assert await streams.iter(values).try_all(bool) == Ok(value=True)


async def test_try_concat_stops_at_an_error() -> None:
    items: list[Ok[list[int]] | Err[str]] = [Ok([1]), Err("bad")]

    assert await streams.iter(items).try_concat() == Err("bad")


async def test_try_next_tells_the_end_from_an_error() -> None:
    stream = mixed()

    answers = [await stream.try_next() for _ in range(5)]

    assert answers == [Ok(1), Err("bad"), Ok(2), Ok(3), Ok(None)]


@pytest.mark.parametrize("name", ["try_buffered", "try_buffer_unordered", "try_flatten_unordered"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="limit"):
        getattr(streams.empty(), name)(0)


async def test_a_finisher_that_stops_early_closes_the_source() -> None:
    feed = Feed[Item](Err("bad"))

    await streams.ReceiverStream(feed).try_collect()
    await settle()

    assert feed.dropped


async def test_concat_and_unzip() -> None:
    assert await streams.iter([[1], [], [2, 3]]).concat() == [1, 2, 3]
    assert await streams.iter([(1, "a"), (2, "b")]).unzip() == ([1, 2], ["a", "b"])


@pytest.mark.parametrize("name", ["try_chunks", "try_ready_chunks"])
async def test_values_before_an_exception_are_handed_out_before_it(name: str) -> None:
    source = streams.iter([2, 1, 0]).map(lambda number: Ok(2 // number))
    stream = getattr(source, name)(5)

    assert await anext(stream) == Ok([1, 2])
    with pytest.raises(ZeroDivisionError):
        await anext(stream)
    assert [item async for item in stream] == []

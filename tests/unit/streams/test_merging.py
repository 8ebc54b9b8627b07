import asyncio

import pytest

from service import streams
from service.errors import StreamError
from service.streams import ReceiverStream, StreamMap
from tests.unit.streams.feed import Feed, settle


async def test_sources_that_always_have_items_take_turns() -> None:
    assert await streams.select([1, 2, 3], "abc").collect() == [1, "a", 2, "b", 3, "c"]
    assert await streams.iter([1, 2]).merge("ab").collect() == [1, "a", 2, "b"]


async def test_endless_sources_share_fairly() -> None:
    merged = streams.select_all(streams.repeat(name) for name in "abc").take(3000)

    items = await merged.collect()

    assert {name: items.count(name) for name in "abc"} == {"a": 1000, "b": 1000, "c": 1000}


async def test_sources_take_turns_also_when_items_are_asked_for_one_by_one() -> None:
    async with streams.select(streams.repeat("a"), streams.repeat("b")) as both:
        loan = both.by_ref()

        assert [await anext(loan) for _ in range(4)] == ["a", "b", "a", "b"]


async def test_str_15_select_goes_on_with_the_survivor_and_ends_with_both() -> None:
    left, right = Feed(1), Feed("a", "b")
    async with streams.select(ReceiverStream(left), ReceiverStream(right)) as both:
        left.close()
        assert [await anext(both) for _ in range(3)] == [1, "a", "b"]

        right.push("c")
        assert await anext(both) == "c"
        right.close()

        assert [item async for item in both] == []


async def test_items_come_from_whoever_has_some() -> None:
    left, right = Feed[int](), Feed[str]()
    async with streams.select(ReceiverStream(left), ReceiverStream(right)) as both:
        waiting = asyncio.get_running_loop().create_task(anext(both))
        await settle()

        right.push("a")

        assert await waiting == "a"


async def test_a_biased_select_prefers_the_first() -> None:
    assert await streams.select_biased([1, 2], "ab").collect() == [1, 2, "a", "b"]


async def test_selecting_from_nothing_ends_at_once() -> None:
    assert await streams.select_all([]).collect() == []


async def test_str_19_an_empty_map_is_at_its_end() -> None:
    streams_by_key = StreamMap[str, int]()

    assert await streams_by_key.collect() == []


async def test_a_map_yields_keys_and_items_and_forgets_streams_that_ended() -> None:
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("a", [1, 2])
    streams_by_key.insert("b", [3])
    assert len(streams_by_key) == 2

    pairs = await streams_by_key.collect()

    assert sorted(pairs) == [("a", 1), ("a", 2), ("b", 3)]
    assert len(streams_by_key) == 0


async def test_streams_come_and_go_while_somebody_waits() -> None:
    first, second = Feed[int](), Feed(7)
    async with StreamMap[str, int]() as streams_by_key:
        streams_by_key.insert("first", ReceiverStream(first))
        waiting = asyncio.get_running_loop().create_task(anext(streams_by_key))
        await settle()

        streams_by_key.insert("second", ReceiverStream(second))

        assert await waiting == ("second", 7)
        assert "first" in streams_by_key


async def test_a_removed_stream_has_lost_nothing() -> None:
    feed = Feed[int]()
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("only", ReceiverStream(feed))
    waiting = asyncio.get_running_loop().create_task(anext(streams_by_key, None))
    await settle()
    feed.push(1, 2)

    removed = streams_by_key.remove("only")

    assert await waiting is None
    assert removed is not None
    feed.close()
    assert await removed.collect() == [1, 2]


async def test_a_removed_stream_wakes_its_new_consumer() -> None:
    feed = Feed[int]()
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("only", ReceiverStream(feed))
    old = asyncio.get_running_loop().create_task(anext(streams_by_key, None))
    await settle()
    removed = streams_by_key.remove("only")
    assert removed is not None
    assert await old is None
    async with removed:
        waiting = asyncio.get_running_loop().create_task(anext(removed))
        await settle()

        feed.push(1)

        assert await waiting == 1


async def test_inserting_an_existing_key_returns_the_old_stream() -> None:
    async with StreamMap[str, int]() as streams_by_key:
        assert streams_by_key.insert("k", [1]) is None
        old = streams_by_key.insert("k", [2])

        assert old is not None
        assert await old.collect() == [1]
        assert await anext(streams_by_key) == ("k", 2)


async def test_nothing_can_be_inserted_after_the_end() -> None:
    streams_by_key = StreamMap[str, int]()
    await streams_by_key.count()

    with pytest.raises(StreamError, match="ended"):
        streams_by_key.insert("k", [1])


def test_removing_what_is_not_there_returns_none() -> None:
    assert StreamMap[str, int]().remove("k") is None


async def test_next_many_waits_for_the_first_only() -> None:
    buffer: list[tuple[str, int]] = []
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("k", [1, 2, 3])

    assert await streams_by_key.next_many(buffer, 0) == 0
    assert await streams_by_key.next_many(buffer, 2) == 2
    assert await streams_by_key.next_many(buffer, 2) == 1
    assert await streams_by_key.next_many(buffer, 2) == 0
    assert buffer == [("k", 1), ("k", 2), ("k", 3)]


async def test_notify_close_makes_the_end_an_item() -> None:
    streams_by_key = StreamMap[str, int | None]()
    streams_by_key.insert("k", streams.iter([1]).notify_close())

    assert await streams_by_key.collect() == [("k", 1), ("k", None)]


async def test_no_stream_of_a_map_is_preferred() -> None:
    streams_by_key = StreamMap[str, int]()
    for key in "abcd":
        streams_by_key.insert(key, streams.repeat(0))
    loan = streams_by_key.by_ref()

    async with streams_by_key:
        first = [(await anext(loan))[0] for _ in range(400)]

    assert all(first.count(key) > 40 for key in "abcd")


@pytest.mark.real_loops
async def test_a_merge_of_generators_delivers_all_on_real_loops() -> None:
    async def nap(number: int) -> int:
        await asyncio.sleep(0)  # lets the other source run
        return number

    merged = streams.iter(range(100)).then(nap).merge(streams.iter(range(100, 200)).then(nap))

    assert sorted(await merged.collect()) == list(range(200))


async def test_what_cannot_be_inserted_leaves_the_map_as_it_was() -> None:
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("a", streams.iter([1]))
    moved = streams.iter([2])
    moved.map(str)

    with pytest.raises(StreamError, match="moved"):
        streams_by_key.insert("a", moved)

    assert await streams_by_key.collect() == [("a", 1)]

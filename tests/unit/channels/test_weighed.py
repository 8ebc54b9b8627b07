import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.channels import Overflow, channel
from service.errors import ChannelBusyError, ChannelClosedError, ChannelFullError

OthersRun = Callable[[], Awaitable[None]]


async def test_a_batch_takes_as_many_slots_as_it_has_items() -> None:
    tx, rx = channel[list[int]](5, items_of=len)
    with tx, rx:
        await tx.send([1, 2, 3])
        assert (tx.capacity, rx.statistics().depth, len(rx)) == (2, 3, 1)
        with pytest.raises(ChannelFullError):
            tx.try_send([4, 5, 6])

        assert await rx.recv() == [1, 2, 3]
        assert tx.capacity == 5
        assert rx.statistics().peak == 3


async def test_an_empty_batch_takes_a_slot_all_the_same() -> None:
    tx, rx = channel[list[int]](1, items_of=len)
    with tx, rx:
        tx.try_send([])

        assert tx.capacity == 0


async def test_bytes_are_bounded_beside_items() -> None:
    tx, rx = channel[bytes](100, max_bytes=10, bytes_of=len)
    with tx, rx:
        await tx.send(b"123456")
        with pytest.raises(ChannelFullError):
            tx.try_send(b"12345")
        assert tx.capacity == 99  # the slot of the refused item came back
        await tx.send(b"1234")

        statistics = rx.statistics()
        assert (statistics.buffered_bytes, statistics.max_bytes) == (10, 10)
        await rx.recv_many([], 9)
        assert rx.statistics().buffered_bytes == 0
        assert rx.statistics().buffered_bytes_peak == 10


async def test_bytes_can_be_counted_without_a_bound() -> None:
    tx, rx = channel[bytes](2, bytes_of=len)
    with tx, rx:
        await tx.send(b"x" * 1000)

        assert rx.statistics().buffered_bytes == 1000
        assert rx.statistics().max_bytes is None


@pytest.mark.parametrize(
    ("items_of", "bytes_of"), [(len, None), (None, len)], ids=["items", "bytes"]
)
async def test_an_item_heavier_than_the_bound_is_admitted_alone(
    items_of: Callable[[bytes], int] | None,
    bytes_of: Callable[[bytes], int] | None,
    others_run: OthersRun,
) -> None:
    tx, rx = channel[bytes](
        4, max_bytes=4 if bytes_of else None, bytes_of=bytes_of, items_of=items_of
    )
    with tx, rx:
        await tx.send(b"1")
        async with asyncio.TaskGroup() as tasks:
            heavy = tasks.create_task(tx.send(b"far too heavy"))
            await others_run()
            assert not heavy.done()

            assert await rx.recv() == b"1"
            await others_run()

            assert heavy.done()
            with pytest.raises(ChannelFullError):
                tx.try_send(b"2")
        assert await rx.recv() == b"far too heavy"
        tx.try_send(b"2")


@pytest.mark.parametrize("ticks", range(5))
async def test_a_cancelled_wait_for_bytes_gives_its_slots_back(
    ticks: int, others_run: OthersRun
) -> None:
    tx, rx = channel[bytes](3, max_bytes=5, bytes_of=len)
    with tx, rx:
        await tx.send(b"12345")
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(tx.send(b"12345"))
            await others_run()
            assert tx.capacity == 1
            await rx.recv()
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
            waiting.cancel()
            await others_run()

        assert tx.capacity == (3 if waiting.cancelled() else 2)
        assert len(rx) == (0 if waiting.cancelled() else 1)


async def test_close_fails_who_waits_for_bytes_and_hands_the_item_back(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[bytes](3, max_bytes=5, bytes_of=len)
    with tx, rx:
        await tx.send(b"12345")
        waiting = asyncio.gather(tx.send(b"1"), return_exceptions=True)
        await others_run()

        rx.close()

        (error,) = await waiting
        assert isinstance(error, ChannelClosedError)
        assert error.item == b"1"
        assert await rx.recv() == b"12345"
        assert rx.is_finished


async def test_drop_oldest_drops_until_the_new_item_fits() -> None:
    tx, rx = channel[bytes](9, max_bytes=6, bytes_of=len, overflow=Overflow.DROP_OLDEST)
    with tx, rx:
        for item in (b"11", b"22", b"33"):
            await tx.send(item)
        await tx.send(b"4444")

        buffer: list[bytes] = []
        await rx.recv_many(buffer, 9)
        assert buffer == [b"33", b"4444"]
        assert rx.statistics().dropped_oldest_count == 2


async def test_the_other_policies_work_by_weight_too() -> None:
    tx, rx = channel[bytes](9, max_bytes=2, bytes_of=len, overflow=Overflow.DROP_NEWEST)
    with tx, rx:
        await tx.send_many([b"11", b"2"])

        assert rx.statistics().dropped_newest_count == 1
        assert await rx.recv() == b"11"


async def test_a_slot_cannot_be_reserved_without_its_item() -> None:
    tx, rx = channel[bytes](9, bytes_of=len)
    with tx, rx:
        with pytest.raises(TypeError, match="weigh"):
            await tx.reserve()
        with pytest.raises(TypeError, match="weigh"):
            tx.try_reserve_many(1)


async def test_dropping_the_receiver_frees_every_weight() -> None:
    tx, rx = channel[bytes](4, max_bytes=9, bytes_of=len, items_of=len)
    with tx:
        await tx.send_many([b"1", b"22"])
        rx.drop()

        assert tx.capacity == 4
        assert tx.statistics().depth == 0
        assert tx.statistics().buffered_bytes == 0
        assert tx.statistics().destroyed_count == 2


@given(st.lists(st.none() | st.binary(max_size=8), max_size=40))
def test_what_is_buffered_never_exceeds_the_bounds_but_by_one_item(
    steps: list[bytes | None],
) -> None:
    tx, rx = channel[bytes](4, max_bytes=5, bytes_of=len, items_of=lambda item: item.count(0) + 1)
    model: list[bytes] = []
    with tx, rx:
        for item in steps:
            if item is None:
                if model:
                    assert rx.try_recv() == model.pop(0)
                continue
            slots = sum(min(other.count(0) + 1, 4) for other in model)
            size_bytes = sum(min(len(other), 5) for other in model)
            fits = slots + min(item.count(0) + 1, 4) <= 4 and size_bytes + min(len(item), 5) <= 5
            try:
                tx.try_send(item)
                model.append(item)
            except ChannelFullError:
                assert not fits
            else:
                assert fits


async def test_what_found_room_in_one_bound_only_is_no_peak() -> None:
    tx, rx = channel[str](9, max_bytes=3, bytes_of=len)
    with tx, rx:
        tx.try_send("abc")
        with pytest.raises(ChannelFullError):
            tx.try_send("d")

        assert tx.statistics().peak == 1


@pytest.mark.parametrize(
    ("slots", "size_bytes", "come"),
    [
        pytest.param(100, 100, [["aa", "b", "cccc", "d"]], id="all"),
        pytest.param(3, 100, [["aa", "b"], ["cccc"], ["d"]], id="slots"),
        pytest.param(100, 30, [["aa", "b"], ["cccc"], ["d"]], id="bytes"),
        pytest.param(5, 49, [["aa", "b"], ["cccc"], ["d"]], id="both"),
        pytest.param(1, 1, [["aa"], ["b"], ["cccc"], ["d"]], id="one, whatever it weighs"),
        pytest.param(1, 0, [["aa"], ["b"], ["cccc"], ["d"]], id="no bytes"),
    ],
)
async def test_small_items_come_together_as_far_as_their_weight_allows(
    slots: int, size_bytes: int, come: list[list[str]]
) -> None:
    tx, rx = channel[str](100, items_of=len, bytes_of=lambda item: 10 * len(item))
    with tx, rx:
        for item in ("aa", "b", "cccc", "d"):
            await tx.send(item)
        received: list[list[str]] = []
        while len(rx):
            chunk: list[str] = []
            assert await rx.recv_weighed(chunk, slots, size_bytes) == len(chunk)
            received.append(chunk)

        assert received == come
        assert (tx.capacity, rx.statistics().buffered_bytes) == (100, 0)
        with pytest.raises(ValueError, match="at least 1"):
            await rx.recv_weighed([], 0, 100)
        tx.close()
        assert await rx.recv_weighed([], 1, 1) == 0


async def test_where_items_weigh_nothing_each_takes_a_slot() -> None:
    tx, rx = channel[int](10)
    with tx, rx:
        await tx.send_many([1, 2, 3])
        chunk: list[int] = []
        assert await rx.recv_weighed(chunk, 2, 0) == 2
        assert chunk == [1, 2]


async def test_whoever_waits_for_a_weighed_item_has_taken_nothing_when_cancelled(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[bytes](10, bytes_of=len)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(rx.recv_weighed([], 5, 5))
            await others_run()
            with pytest.raises(ChannelBusyError):
                await rx.recv_weighed([], 5, 5)
            await tx.send(b"1")
            waiting.cancel()
            await others_run()
            chunk: list[bytes] = []
            assert await rx.recv_weighed(chunk, 5, 5) == 1

        assert chunk == [b"1"]

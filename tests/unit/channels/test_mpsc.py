"""The conformance list: what tokio's ``mpsc`` promises, one test for each promise."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.channels import Conflate, Overflow, Receiver, Sender, channel, unbounded_channel
from service.errors import (
    ChannelBusyError,
    ChannelClosedError,
    ChannelEmptyError,
    ChannelFullError,
    ChannelTimeoutError,
)

OthersRun = Callable[[], Awaitable[None]]


@pytest.mark.parametrize("capacity", [0, -1])
def test_mpsc_01_a_channel_needs_a_slot(capacity: int) -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        channel[int](capacity)


async def test_mpsc_02_three_senders_are_received_in_the_order_of_their_sends() -> None:
    tx, rx = channel[tuple[str, int]](2)
    received: list[tuple[str, int]] = []
    sent: list[tuple[str, int]] = []

    async def produce(name: str, sender: Sender[tuple[str, int]]) -> None:
        with sender:
            for number in range(5):
                await sender.send((name, number))
                sent.append((name, number))

    with rx:
        async with asyncio.TaskGroup() as tasks:
            for name in "abc":
                tasks.create_task(produce(name, tx.clone()))
            tx.close()
            async for item in rx:
                received.append(item)  # noqa: PERF401 -- a loop is what is tested

    assert len(received) == 15
    for name in "abc":
        assert [number for who, number in received if who == name] == [0, 1, 2, 3, 4]


async def test_mpsc_03_try_send_is_full_while_someone_is_in_line(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        tx.try_send(1)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(tx.send(2))
            await others_run()
            assert await rx.recv() == 1

            with pytest.raises(ChannelFullError) as caught:
                tx.try_send(3)

        assert caught.value.item == 3
        assert rx.try_recv() == 2


async def test_mpsc_04_a_large_reserve_at_the_head_blocks_small_ones_behind_it(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](3)
    order: list[str] = []

    async def large() -> None:
        with await tx.reserve_many(3):
            order.append("large")

    async def small() -> None:
        await tx.send(9)
        order.append("small")

    with tx, rx:
        for item in range(3):
            tx.try_send(item)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(large())
            await others_run()
            tasks.create_task(small())
            for _ in range(3):
                await rx.recv()
                await others_run()

    assert order == ["large", "small"]


async def test_mpsc_05_reserving_more_than_there_ever_is_fails_at_once() -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        with pytest.raises(ValueError, match="3 slots"):
            await tx.reserve_many(3)
        with pytest.raises(ChannelFullError):
            tx.try_reserve_many(3)
        with await tx.reserve_many(0) as none:
            assert len(none) == 0


async def test_mpsc_06_what_a_cancelled_waiter_collected_goes_to_the_next(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        tx.try_send(1)
        tx.try_send(2)
        async with asyncio.TaskGroup() as tasks:
            large = tasks.create_task(tx.reserve_many(2))
            await others_run()
            small = tasks.create_task(tx.send(3))
            await rx.recv()
            await others_run()
            assert not small.done()  # the only free slot was collected by the large one

            large.cancel()
            await others_run()

            assert small.done()
        assert [rx.try_recv(), rx.try_recv()] == [2, 3]


@pytest.mark.parametrize("capacity", [1, 2], ids=["while-full", "while-free"])
async def test_mpsc_07_send_error_returns_the_value(capacity: int) -> None:
    tx, rx = channel[object](capacity)
    value = object()
    with tx, rx:
        tx.try_send("first")
        rx.close()

        with pytest.raises(ChannelClosedError) as caught:
            await tx.send(value)
        assert caught.value.item is value
        with pytest.raises(ChannelClosedError) as caught:
            tx.try_send(value)
        assert caught.value.item is value


async def test_mpsc_08_close_fails_everyone_in_line(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        tx.try_send(0)
        sends = [asyncio.gather(tx.send(n), return_exceptions=True) for n in (1, 2)]
        await others_run()

        rx.close()
        await others_run()

        errors = [(await send)[0] for send in sends]
        assert [getattr(error, "item", None) for error in errors] == [1, 2]
        assert all(isinstance(error, ChannelClosedError) for error in errors)


async def test_mpsc_09_after_close_what_is_buffered_or_permitted_still_arrives() -> None:
    tx, rx = channel[int](3)
    with tx, rx:
        tx.try_send(1)
        tx.try_send(2)
        permit = await tx.reserve()
        rx.close()

        assert [await rx.recv(), await rx.recv()] == [1, 2]
        permit.send(3)
        assert await rx.recv() == 3
        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_mpsc_10_releasing_the_last_permit_after_close_ends_a_waiting_recv(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        permit = await tx.reserve()
        rx.close()
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(_ends(rx))
            await others_run()
            assert not ended.done()

            permit.release()

        assert ended.result()


async def test_mpsc_11_try_recv_is_empty_while_a_permit_is_out_and_closed_after() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        permit = await tx.reserve()
        rx.close()

        with pytest.raises(ChannelEmptyError):
            rx.try_recv()
        permit.release()
        with pytest.raises(ChannelClosedError):
            rx.try_recv()


async def test_mpsc_12_dropping_the_receiver_destroys_the_buffer_while_senders_live() -> None:
    tx, rx = channel[int](4)
    with tx:
        for item in range(3):
            await tx.send(item)

        rx.drop()

        assert len(rx) == 0
        assert tx.statistics().destroyed_count == 3
        assert tx.capacity == 4
        with pytest.raises(ChannelClosedError):
            rx.try_recv()


async def test_mpsc_13_a_permit_sends_silently_into_a_dropped_channel() -> None:
    tx, rx = channel[int](1)
    with tx:
        permit = await tx.reserve()
        rx.drop()

        permit.send(1)

        assert len(rx) == 0
        assert tx.statistics().destroyed_count == 1
        assert tx.capacity == 1


async def test_mpsc_14_what_is_buffered_outlives_the_last_sender() -> None:
    tx, rx = channel[int](2)
    with rx:
        await tx.send(1)
        await tx.send(2)
        tx.close()

        assert [item async for item in rx] == [1, 2]
        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_mpsc_15_an_owned_permit_counts_as_a_sender() -> None:
    tx, rx = channel[int](1)
    with rx:
        permit = await tx.reserve_owned()
        assert tx.is_closed
        assert rx.strong_count == 1
        with pytest.raises(ChannelEmptyError):
            rx.try_recv()

        sender = permit.send(7)

        assert await rx.recv() == 7
        assert rx.strong_count == 1
        sender.close()
        assert rx.is_finished


async def test_mpsc_16_a_weak_sender_never_revives_a_channel_without_senders() -> None:
    tx, rx = channel[int](1)
    with rx:
        weak = tx.downgrade()
        await tx.send(1)
        tx.close()

        assert weak.upgrade() is None
        assert await rx.recv() == 1


async def test_mpsc_17_a_weak_sender_upgrades_after_close_while_a_sender_lives() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        weak = tx.downgrade()
        rx.close()

        upgraded = weak.upgrade()

        assert upgraded is not None
        with upgraded, pytest.raises(ChannelClosedError):
            upgraded.try_send(1)


async def test_mpsc_18_recv_many_of_nothing_returns_at_once() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        buffer: list[int] = []
        assert await rx.recv_many(buffer, 0) == 0
        with pytest.raises(ValueError, match="negative"):
            await rx.recv_many(buffer, -1)


async def test_mpsc_19_recv_many_takes_what_is_there_and_appends_it() -> None:
    tx, rx = channel[int](8)
    with rx:
        buffer = [0]
        await tx.send_many([1, 2, 3])
        assert await rx.recv_many(buffer, 2) == 2
        assert await rx.recv_many(buffer, 100) == 1
        assert buffer == [0, 1, 2, 3]

        tx.close()
        assert await rx.recv_many(buffer, 100) == 0


async def test_mpsc_20_recv_many_frees_its_slots_together(others_run: OthersRun) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        await tx.send_many([1, 2])
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(tx.send(n)) for n in (3, 4)]
            await others_run()

            await rx.recv_many([], 2)
            await others_run()

            assert all(task.done() for task in waiting)


@pytest.mark.parametrize("ticks", range(6))
async def test_mpsc_21_a_cancelled_recv_has_taken_nothing(ticks: int) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(rx.recv())
            sending = tasks.create_task(tx.send(1))
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets the two get one step further
            receiving.cancel()
            await sending

        if receiving.cancelled():
            assert await rx.recv() == 1
        else:
            assert receiving.result() == 1
            assert len(rx) == 0


async def test_mpsc_22_a_second_concurrent_recv_is_refused(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            first = tasks.create_task(rx.recv())
            await others_run()

            with pytest.raises(ChannelBusyError):
                await rx.recv()
            with pytest.raises(ChannelBusyError):
                rx.try_recv()
            await tx.send(1)
            with pytest.raises(ChannelBusyError):  # woken, but it has not run yet
                await rx.recv_many([], 1)

        assert first.result() == 1


async def test_mpsc_23_a_blocking_call_inside_a_loop_is_refused() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        with pytest.raises(RuntimeError, match="await instead"):
            tx.blocking_send(1)
        with pytest.raises(RuntimeError, match="await instead"):
            rx.blocking_recv()
        with pytest.raises(RuntimeError, match="await instead"):
            rx.blocking_recv_many([], 1)


@pytest.mark.real_loops
async def test_mpsc_24_four_threads_send_and_each_keeps_its_order() -> None:
    tx, rx = channel[tuple[int, int]](2)
    received: list[tuple[int, int]] = []

    def produce(thread: int) -> None:
        for number in range(25):
            tx.blocking_send((thread, number))

    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(asyncio.to_thread(produce, number))
            while len(received) < 100:
                await rx.recv_many(received, 100)

    for thread_number in range(4):
        assert [n for who, n in received if who == thread_number] == list(range(25))


async def test_mpsc_25_send_timeout_tells_late_from_closed() -> None:
    tx, rx = channel[int](1)
    loop = asyncio.get_running_loop()
    with tx, rx:
        await tx.send_timeout(1, 0.5)
        assert loop.time() == 0.0

        with pytest.raises(ChannelTimeoutError) as late:
            await tx.send_timeout(2, 0.5)
        assert late.value.item == 2
        assert loop.time() == 0.5

        loop.call_later(0.25, rx.close)
        with pytest.raises(ChannelClosedError) as closed:
            await tx.send_timeout(3, 0.5)
        assert closed.value.item == 3
        assert loop.time() == 0.75


@pytest.mark.parametrize("end", [Receiver.close, Receiver.drop], ids=["close", "drop"])
async def test_mpsc_26_closed_completes_when_the_receiver_ends(
    end: Callable[[Receiver[int]], None], others_run: OthersRun
) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(tx.closed())
            await others_run()
            assert not waiting.done()

            end(rx)

        assert tx.is_closed
        await tx.closed()


async def test_mpsc_27_capacity_counts_items_permits_and_promises(others_run: OthersRun) -> None:
    tx, rx = channel[int](5)
    with tx, rx:
        await tx.send_many([1, 2])
        permit = await tx.reserve()
        assert (tx.capacity, tx.max_capacity, len(rx)) == (2, 5, 2)

        async with asyncio.TaskGroup() as tasks:
            large = tasks.create_task(tx.reserve_many(4))
            await others_run()
            assert tx.capacity == 0  # both free slots are promised to the head of the line
            assert tx.statistics().permits_out == 3
            assert tx.statistics().waiting_senders == 1

            await rx.recv_many([], 2)

        permits = large.result()
        assert tx.capacity == 0
        permits.release()
        permit.release()
        assert tx.capacity == 5


async def test_mpsc_28_an_unbounded_send_never_waits_and_fails_only_when_closed() -> None:
    tx, rx = unbounded_channel[int]()
    with tx, rx:
        for item in range(1000):
            tx.send(item)
        tx.send_many(range(1000, 1010))
        rx.close()

        with pytest.raises(ChannelClosedError) as caught:
            tx.send(-1)
        assert caught.value.item == -1
        with pytest.raises(ChannelClosedError) as caught:
            tx.send_many([-1, -2])
        assert caught.value.item == [-1, -2]
        assert [item async for item in rx] == list(range(1010))
        assert rx.max_capacity is None


async def test_mpsc_29_strong_and_weak_counts_follow_the_handles() -> None:
    tx, rx = channel[int](1)
    with rx:
        clone = tx.clone()
        weak = tx.downgrade()
        assert (rx.strong_count, rx.weak_count) == (2, 1)
        assert (tx.strong_count, weak.weak_count) == (2, 1)
        assert tx.same_channel(clone)

        clone.close()
        clone.close()
        assert weak.strong_count == 1
        del weak
        assert tx.weak_count == 0
        tx.close()
        assert rx.strong_count == 0
        assert rx.is_closed


@pytest.mark.slow
@pytest.mark.parametrize("count", [1_000_000])
async def test_mpsc_30_a_ticker_runs_while_a_million_items_are_ready(count: int) -> None:
    tx, rx = unbounded_channel[int]()
    tx.send_many(range(count))
    tx.close()
    ticks = 0

    async def ticker() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)  # counts the turns that the receiver leaves to others
            ticks += 1

    with rx:
        async with asyncio.TaskGroup() as tasks:
            ticking = tasks.create_task(ticker())
            received = [item async for item in rx]
            ticking.cancel()

    assert len(received) == count
    assert ticks >= count // 128 - 1


async def _ends(rx: Receiver[int]) -> bool:
    try:
        await rx.recv()
    except ChannelClosedError:
        return True
    return False


def test_conflate_cannot_be_combined_with_weights() -> None:
    with pytest.raises(ValueError, match="weights"):
        channel[bytes](1, bytes_of=len, overflow=Conflate(key=len))


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_a_bound_in_bytes_must_leave_room(max_bytes: int) -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        channel[bytes](1, max_bytes=max_bytes, bytes_of=len)


def test_a_bound_in_bytes_needs_to_know_how_large_an_item_is() -> None:
    with pytest.raises(ValueError, match="bytes_of"):
        channel[bytes](1, max_bytes=10, overflow=Overflow.REJECT)

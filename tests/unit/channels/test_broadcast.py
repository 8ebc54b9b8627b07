import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.channels import broadcast
from service.errors import ChannelClosedError, ChannelEmptyError, LaggedError

OthersRun = Callable[[], Awaitable[None]]


async def test_every_receiver_gets_every_item() -> None:
    tx, first = broadcast.channel[int](4)
    second = tx.subscribe()
    with first, second:
        assert tx.send(1) == 2
        assert tx.send(2) == 2
        tx.close()

        assert [item async for item in first] == [1, 2]
        assert [item async for item in second] == [1, 2]


async def test_a_receiver_starts_with_what_is_sent_after_it_was_made() -> None:
    tx, first = broadcast.channel[int](4)
    with tx, first:
        tx.send(1)
        with tx.subscribe() as late, first.resubscribe() as later:
            tx.send(2)

            assert late.try_recv() == 2
            assert later.try_recv() == 2
            assert len(first) == 2


async def test_a_slow_receiver_is_told_once_what_it_missed_and_goes_on() -> None:
    tx, slow = broadcast.channel[int](3)
    with tx, slow:
        for item in range(5):
            tx.send(item)
        assert len(slow) == 3

        with pytest.raises(LaggedError) as caught:
            await slow.recv()

        assert caught.value.missed == 2
        assert [await slow.recv() for _ in range(3)] == [2, 3, 4]
        with pytest.raises(ChannelEmptyError):
            slow.try_recv()


async def test_iteration_goes_on_after_a_lag() -> None:
    tx, rx = broadcast.channel[int](2)
    with rx:
        for item in range(3):
            tx.send(item)
        tx.close()

        with pytest.raises(LaggedError):
            async for _ in rx:
                pass

        assert [item async for item in rx] == [1, 2]


async def test_a_waiting_receiver_gets_a_later_item() -> None:
    tx, rx = broadcast.channel[int](1)
    with tx, rx:
        asyncio.get_running_loop().call_later(2, tx.send, 1)

        assert await rx.recv() == 1
        assert asyncio.get_running_loop().time() == 2.0


async def test_recv_many_takes_what_is_there() -> None:
    tx, rx = broadcast.channel[int](3)
    with rx:
        buffer = [-1]
        for item in range(3):
            tx.send(item)
        assert await rx.recv_many(buffer, 0) == 0
        assert await rx.recv_many(buffer, 2) == 2
        tx.send(3)  # wraps around the ring
        assert await rx.recv_many(buffer, 9) == 2
        assert buffer == [-1, 0, 1, 2, 3]

        tx.close()
        assert await rx.recv_many(buffer, 9) == 0
        with pytest.raises(ValueError, match="negative"):
            await rx.recv_many(buffer, -1)


@pytest.mark.parametrize("ticks", range(4))
async def test_a_cancelled_recv_has_taken_nothing(ticks: int) -> None:
    tx, rx = broadcast.channel[int](1)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(rx.recv())
            await asyncio.sleep(0)  # lets it start to wait
            tx.send(1)
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
            receiving.cancel()

        assert (rx.try_recv() if receiving.cancelled() else receiving.result()) == 1


async def test_the_channel_ends_with_its_last_sender() -> None:
    tx, rx = broadcast.channel[int](1)
    with rx:
        clone = tx.clone()
        tx.close()
        with pytest.raises(ChannelEmptyError):
            rx.try_recv()
        with pytest.raises(ChannelClosedError):
            tx.clone()

        clone.close()

        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_closing_the_last_sender_ends_a_waiting_receiver(others_run: OthersRun) -> None:
    tx, rx = broadcast.channel[int](1)
    with rx:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(rx.recv_many([], 1))
            await others_run()

            tx.close()

        assert receiving.result() == 0


async def test_send_without_receivers_hands_the_item_back() -> None:
    tx, rx = broadcast.channel[int](1)
    with tx:
        rx.close()
        rx.close()

        with pytest.raises(ChannelClosedError) as caught:
            tx.send(1)

        assert caught.value.item == 1
        assert tx.receiver_count == 0
        with pytest.raises(ChannelClosedError):
            rx.try_recv()


async def test_other_tasks_run_while_items_are_ready() -> None:
    tx, rx = broadcast.channel[int](1000)
    ran: list[int] = []
    with rx:
        for item in range(1000):
            tx.send(item)
        tx.close()
        asyncio.get_running_loop().call_soon(ran.append, 1)

        received = 0
        while not ran:
            received = await rx.recv()

        assert received < 130


def test_a_channel_needs_a_slot() -> None:
    with pytest.raises(ValueError, match="at least one slot"):
        broadcast.channel[int](0)


async def test_a_forgotten_sender_is_reported_and_ends_the_channel() -> None:
    tx, rx = broadcast.channel[int](1)
    with rx:
        with pytest.warns(ResourceWarning, match="never closed"):
            del tx  # CPython collects it right here

        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_a_forgotten_receiver_is_not_counted() -> None:
    tx, rx = broadcast.channel[int](1)
    with tx:
        del rx  # CPython collects it right here

        assert tx.receiver_count == 0


@given(
    capacity=st.integers(1, 5),
    steps=st.lists(st.sampled_from(["send", "first", "second"]), max_size=60),
)
def test_received_and_missed_items_add_up_for_every_receiver(
    capacity: int, steps: list[str]
) -> None:
    tx, first = broadcast.channel[int](capacity)
    second = tx.subscribe()
    receivers = {"first": first, "second": second}
    positions = {"first": 0, "second": 0}
    sent = 0
    with tx, first, second:
        for step in steps:
            if step == "send":
                tx.send(sent)
                sent += 1
                continue
            try:
                assert receivers[step].try_recv() == positions[step]
                positions[step] += 1
            except LaggedError as lag:
                positions[step] += lag.missed
                assert positions[step] == sent - capacity
            except ChannelEmptyError:
                assert positions[step] == sent

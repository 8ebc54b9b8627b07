import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine

import pytest

from service.channels import Overflow, Sender, channel
from service.channels.lane import BUDGET
from service.errors import (
    ChannelClosedError,
    ChannelEmptyError,
    ChannelFullError,
    ChannelTimeoutError,
)

OthersRun = Callable[[], Awaitable[None]]


async def test_a_batch_larger_than_the_channel_arrives_whole_and_in_order() -> None:
    tx, rx = channel[int](3)
    with rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_send_many_and_close(tx, list(range(20))))
            received = [item async for item in rx]

    assert received == list(range(20))


async def test_an_empty_batch_is_sent_at_once() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        await tx.send_many([])
        await tx.send(1)
        await tx.send_many(())

        assert len(rx) == 1


async def test_a_batch_into_a_closed_channel_hands_back_what_was_not_sent(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        sending = asyncio.gather(tx.send_many([1, 2, 3, 4]), return_exceptions=True)
        await others_run()
        await rx.recv()
        await others_run()

        rx.close()

        (error,) = await sending
        assert isinstance(error, ChannelClosedError)
        assert error.item == [4]
        assert [item async for item in rx] == [2, 3]


@pytest.mark.parametrize("ticks", range(6))
async def test_what_a_cancelled_batch_has_sent_is_a_prefix(
    ticks: int, others_run: OthersRun
) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(tx.send_many([0, 1, 2, 3, 4]))
            received: list[int] = []
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
                if len(rx):
                    received.append(await rx.recv())
            sending.cancel()
            await others_run()

        while len(rx):
            received.append(rx.try_recv())
        assert received == list(range(len(received)))
        assert tx.capacity == 2


@pytest.mark.parametrize("ticks", range(5))
async def test_a_cancelled_send_has_not_sent(ticks: int, others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        tx.try_send(1)
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(tx.send(2))
            await others_run()
            assert await rx.recv() == 1
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
            sending.cancel()
            await others_run()

        assert len(rx) == (0 if sending.cancelled() else 1)
        assert tx.capacity == 1 - len(rx)


@pytest.mark.parametrize("ticks", range(5))
async def test_a_cancelled_reserve_holds_nothing(ticks: int, others_run: OthersRun) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        await tx.send_many([1, 2])
        async with asyncio.TaskGroup() as tasks:
            reserving = tasks.create_task(tx.reserve_many(2))
            await others_run()
            await rx.recv_many([], 2)
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
            reserving.cancel()
            await others_run()

        if not reserving.cancelled():
            reserving.result().release()
        assert tx.capacity == 2


async def test_the_timeout_of_a_send_passes_its_place_on() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        tx.try_send(1)
        late = asyncio.gather(tx.send_timeout(2, 1.0), return_exceptions=True)
        patient = asyncio.gather(tx.send(3))
        (error,) = await late
        assert isinstance(error, ChannelTimeoutError)

        assert await rx.recv() == 1
        await patient
        assert await rx.recv() == 3


async def test_close_wakes_the_receiver_that_waits_for_a_reserver(others_run: OthersRun) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        permit = await tx.reserve()
        reserving = asyncio.gather(tx.reserve_many(2), return_exceptions=True)
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(rx.recv_many([], 1))
            await others_run()

            rx.close()
            permit.release()

        assert ended.result() == 0
        (error,) = await reserving
        assert isinstance(error, ChannelClosedError)


async def test_negative_reservations_are_refused() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        with pytest.raises(ValueError, match="negative"):
            await tx.reserve_many(-1)
        with pytest.raises(ValueError, match="negative"):
            tx.try_reserve_many(-1)


async def test_try_reserve_many_holds_what_it_says() -> None:
    tx, rx = channel[int](3)
    with tx, rx, tx.try_reserve_many(2) as permits:
        assert tx.capacity == 1
        with pytest.raises(ChannelFullError):
            tx.try_reserve_many(2)
        next(permits).send(1)
        assert await rx.recv() == 1


async def test_a_send_in_line_outlives_the_close_of_its_handle(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with rx:
        tx.try_send(1)
        sending = asyncio.gather(tx.send(2))
        await others_run()
        tx.close()

        assert [item async for item in rx] == [1, 2]
        await sending


async def test_ready_reservations_let_others_run() -> None:
    tx, rx = channel[int](1)
    ran: list[int] = []
    with tx, rx:
        asyncio.get_running_loop().call_soon(ran.append, 1)
        for _ in range(200):
            (await tx.reserve()).release()

        assert ran


async def _one_by_one(who: int, sender: Sender[tuple[int, int]]) -> None:
    for number in range(300):
        await sender.send((who, number))


async def _in_batches(who: int, sender: Sender[tuple[int, int]]) -> None:
    for start in range(0, 300, 30):
        await sender.send_many([(who, start + n) for n in range(30)])


async def _by_permits(who: int, sender: Sender[tuple[int, int]]) -> None:
    for number in range(300):
        (await sender.reserve()).send((who, number))


@pytest.mark.real_loops
@pytest.mark.parametrize("capacity", [1, 3, 64])
async def test_nothing_is_lost_or_doubled_among_many_senders_on_real_loops(capacity: int) -> None:
    tx, rx = channel[tuple[int, int]](capacity)
    received: list[tuple[int, int]] = []

    async def produce(who: int, sender: Sender[tuple[int, int]]) -> None:
        with sender:
            await (_one_by_one, _in_batches, _by_permits)[who % 3](who, sender)

    with rx:
        async with asyncio.TaskGroup() as tasks:
            for who in range(6):
                tasks.create_task(produce(who, tx.clone()))
            tx.close()
            while await rx.recv_many(received, 7):
                if len(rx):
                    received.append(await rx.recv())
        assert rx.statistics().peak <= capacity

    assert len(received) == 1800
    for who in range(6):
        assert [number for sender, number in received if sender == who] == list(range(300))


async def _send_many_and_close(tx: Sender[int], items: list[int]) -> None:
    with tx:
        await tx.send_many(items)


async def test_a_sender_that_was_closed_while_it_waited_cannot_be_moved(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](1)
    await tx.send(1)
    reserving = asyncio.get_running_loop().create_task(tx.reserve_owned())
    await others_run()
    tx.close()

    assert await rx.recv() == 1

    with pytest.raises(ChannelClosedError):
        await reserving
    assert rx.strong_count == 0
    with pytest.raises(ChannelClosedError):
        await rx.recv()


async def test_a_sender_is_moved_once(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    await tx.send(1)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(tx.reserve_owned())
        second = tasks.create_task(_closed_by(tx.reserve_owned()))
        await others_run()
        received = [await rx.recv()]
        (await first).send(2).close()
        received.append(await rx.recv())

    assert second.result()
    assert received == [1, 2]
    assert rx.strong_count == 0
    assert rx.is_finished


async def _closed_by(operation: Awaitable[object]) -> bool:
    try:
        await operation
    except ChannelClosedError:
        return True
    return False


async def _send_by_permit(tx: Sender[int]) -> None:
    with await tx.reserve() as permit:
        permit.send(1)


SENDING: dict[str, Callable[[Sender[int]], Coroutine[object, object, None]]] = {
    "send": lambda tx: tx.send(1),
    "send_many": lambda tx: tx.send_many([1]),
    "reserve": _send_by_permit,
}


@pytest.mark.parametrize("operation", SENDING)
async def test_who_lets_others_run_before_it_puts_keeps_the_channel_open(operation: str) -> None:
    tx, rx = channel[int](1000)
    for _ in range(BUDGET):
        await tx.send(0)
    assert await rx.recv_many([], 1000) == BUDGET
    sending = asyncio.get_running_loop().create_task(SENDING[operation](tx))
    await asyncio.sleep(0)  # it has spent its budget and lets others run

    tx.close()

    with pytest.raises(ChannelEmptyError):
        rx.try_recv()
    assert await rx.recv() == 1
    await sending
    assert rx.is_finished


@pytest.mark.parametrize("close", ["close", "cancel"])
async def test_who_let_others_run_and_does_not_put_ends_the_channel(
    close: str, others_run: OthersRun
) -> None:
    tx, rx = channel[int](1000)
    for _ in range(BUDGET):
        await tx.send(0)
    assert await rx.recv_many([], 1000) == BUDGET
    receiving = asyncio.get_running_loop().create_task(_closed_by(rx.recv()))
    await others_run()
    sending = asyncio.get_running_loop().create_task(_closed_by(tx.send(1)))
    await asyncio.sleep(0)  # it has spent its budget and lets others run

    if close == "cancel":
        sending.cancel()
        tx.close()
    else:
        rx.close()

    assert await receiving
    await asyncio.wait((sending,))
    assert sending.cancelled() == (close == "cancel")
    tx.close()


async def test_a_batch_that_cannot_be_cut_holds_no_slots() -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        with pytest.raises(TypeError):
            await tx.send_many(deque([1, 2, 3]))

        assert tx.capacity == 2


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.DROP_NEWEST])
@pytest.mark.parametrize("timed", [True, False], ids=["send_timeout", "send"])
async def test_who_never_waits_for_a_slot_lets_others_run(overflow: Overflow, timed: bool) -> None:  # noqa: FBT001
    tx, rx = channel[int](1, overflow=overflow)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)  # lets the sender go on

    counting = asyncio.get_running_loop().create_task(count())
    with tx, rx:
        for number in range(10 * BUDGET):
            await (tx.send_timeout(number, 1) if timed else tx.send(number))

    counting.cancel()
    assert turns >= 9

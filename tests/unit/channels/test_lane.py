import asyncio

import pytest

from service.channels import channel
from service.channels.lane import BUDGET
from service.errors import ChannelFullError


async def test_the_bound_holds_through_the_fast_lane() -> None:
    tx, rx = channel[int](4)
    with tx, rx:
        for round_number in range(100):
            while tx.capacity:
                await tx.send(round_number)
            with pytest.raises(ChannelFullError):
                tx.try_send(-1)
            for _ in range(1 + round_number % 4):
                await rx.recv()
            assert tx.capacity + len(rx) == 4

        assert rx.statistics().peak == 4


async def test_the_peak_is_exact_whatever_went_through_the_fast_lane() -> None:
    tx, rx = channel[int](100)
    peak = depth = 0
    with tx, rx:
        for burst in (3, 1, 7, 2, 7, 8, 1, 20, 5):
            for item in range(burst):
                await tx.send(item)
                depth += 1
                peak = max(peak, depth)
            for _ in range(depth - 1):
                await rx.recv()
                depth -= 1
            assert rx.statistics().peak == peak


@pytest.mark.parametrize("capacity", [BUDGET * 10], ids=["large"])
async def test_senders_let_others_run_while_there_is_room(capacity: int) -> None:
    tx, rx = channel[int](capacity)
    loop = asyncio.get_running_loop()
    ran: list[int] = []
    with tx, rx:
        loop.call_soon(lambda: ran.append(len(rx)))
        for item in range(capacity):
            await tx.send(item)

        assert ran
        assert ran[0] <= BUDGET + 1


async def test_a_receiver_lets_others_run_while_items_are_ready() -> None:
    tx, rx = channel[int](BUDGET * 4)
    ran: list[int] = []
    with tx, rx:
        await tx.send_many(range(BUDGET * 4))
        asyncio.get_running_loop().call_soon(lambda: ran.append(len(rx)))
        while not ran:
            await rx.recv()

        assert ran[0] >= BUDGET * 3 - 1


async def test_a_batch_counts_once() -> None:
    tx, rx = channel[int](BUDGET * 100)
    ran: list[int] = []
    with tx, rx:
        asyncio.get_running_loop().call_soon(ran.append, 1)
        for _ in range(50):
            await tx.send_many(range(BUDGET))
        assert not ran  # 50 operations, of 6400 items

        for _ in range(50):
            await rx.recv_many([], BUDGET)
        assert not ran


async def test_the_lane_is_shut_while_the_receiver_waits() -> None:
    tx, rx = channel[int](10)
    with tx, rx:
        await tx.send(1)
        await tx.send(2)
        await rx.recv()
        await rx.recv()
        await tx.send(3)
        await rx.recv()
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(rx.recv())
            await asyncio.sleep(0)  # lets it start to wait

            await tx.send(4)

        assert receiving.result() == 4

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.channels import Receiver, channel
from service.errors import ChannelClosedError, ChannelEmptyError

OthersRun = Callable[[], Awaitable[None]]
Receive = Callable[[Receiver[int]], Awaitable[object]]


async def _next(rx: Receiver[int]) -> int:
    return await anext(rx)


async def _many(rx: Receiver[int]) -> list[int]:
    buffer: list[int] = []
    await rx.recv_many(buffer, 10)
    return buffer


RECEIVES = pytest.mark.parametrize(
    "receive", [Receiver.recv, _next, _many], ids=["recv", "anext", "recv_many"]
)


@RECEIVES
@pytest.mark.parametrize("ticks", range(5))
async def test_every_receive_is_cancel_safe(receive: Receive, ticks: int) -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(_call(receive, rx))
            tasks.create_task(tx.send(1))
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets the two get one step further
            receiving.cancel()

        if receiving.cancelled():
            assert rx.try_recv() == 1
        else:
            assert receiving.result() in (1, [1])
            assert len(rx) == 0


@RECEIVES
async def test_a_timeout_around_a_ready_receive_never_starves_it(receive: Receive) -> None:
    tx, rx = channel[int](300)
    received = 0
    with tx, rx:
        await tx.send_many(range(300))
        for _ in range(400):
            try:
                async with asyncio.timeout(0):
                    await receive(rx)
            except TimeoutError:
                continue
            received += 1
            if not len(rx):
                break

        assert len(rx) == 0


async def test_none_is_an_item_like_any_other() -> None:
    tx, rx = channel[None](2)
    with rx:
        await tx.send_many([None, None])
        tx.close()

        assert [item async for item in rx] == [None, None]


async def test_the_end_repeats() -> None:
    tx, rx = channel[int](1)
    with rx:
        tx.close()
        for _ in range(2):
            assert [item async for item in rx] == []
            assert await rx.recv_many([], 1) == 0
            with pytest.raises(ChannelClosedError):
                await rx.recv()
            with pytest.raises(ChannelClosedError):
                rx.try_recv()


async def test_closing_the_last_sender_ends_a_waiting_receive(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with rx:
        clone = tx.clone()
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(rx.recv_many([], 1))
            tx.close()
            await others_run()
            assert not ended.done()

            clone.close()

        assert ended.result() == 0


async def test_dropping_it_ends_its_own_waiting_receive(others_run: OthersRun) -> None:
    tx, rx = channel[int](1)
    with tx:
        async with asyncio.TaskGroup() as tasks:
            ended = tasks.create_task(rx.recv_many([], 1))
            await others_run()

            rx.drop()

        assert ended.result() == 0


async def test_leaving_its_block_destroys_what_is_buffered() -> None:
    tx, rx = channel[int](2)
    with tx:
        async with rx:
            await tx.send(1)
        await rx.aclose()

        assert tx.is_closed
        assert tx.statistics().destroyed_count == 1
        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_close_and_receive_to_the_end_loses_nothing(others_run: OthersRun) -> None:
    tx, rx = channel[int](2)
    with tx, rx:
        refused = asyncio.gather(*(tx.send(n) for n in range(4)), return_exceptions=True)
        await others_run()
        rx.close()

        drained = [item async for item in rx]

        errors = [error for error in await refused if isinstance(error, ChannelClosedError)]
        assert drained + [error.item for error in errors] == [0, 1, 2, 3]


async def test_an_empty_receiver_is_still_true() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        assert rx
        assert len(rx) == 0
        assert not rx.is_closed
        with pytest.raises(ChannelEmptyError):
            rx.try_recv()


async def test_a_forgotten_receiver_is_reported_and_closes_the_channel() -> None:
    tx, rx = channel[int](1)
    with tx:
        with pytest.warns(ResourceWarning, match="never closed"):
            del rx  # CPython collects it right here

        assert tx.is_closed


async def test_a_receiver_that_has_seen_the_end_may_be_forgotten() -> None:
    tx, rx = channel[int](1)
    await tx.send(1)
    tx.close()
    assert [item async for item in rx] == [1]

    del rx  # any warning fails the test


async def _call(receive: Receive, rx: Receiver[int]) -> object:
    return await receive(rx)


async def test_dropping_ends_the_wait_of_another_task_although_a_permit_is_out(
    others_run: OthersRun,
) -> None:
    tx, rx = channel[int](1)
    permit = tx.try_reserve()
    receiving = asyncio.get_running_loop().create_task(rx.recv())
    await others_run()

    rx.drop()

    with pytest.raises(ChannelClosedError):
        await receiving
    assert rx.is_finished
    permit.send(1)
    assert tx.statistics().destroyed_count == 1
    tx.close()

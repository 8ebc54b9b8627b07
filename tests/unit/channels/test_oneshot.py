import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.channels import oneshot
from service.errors import ChannelClosedError, ChannelEmptyError

OthersRun = Callable[[], Awaitable[None]]


async def test_the_value_is_received_once() -> None:
    tx, rx = oneshot.channel[int]()
    tx.send(1)

    assert await rx == 1
    with pytest.raises(ChannelClosedError):
        await rx


async def test_none_is_a_value_like_any_other() -> None:
    tx, rx = oneshot.channel[None]()
    with pytest.raises(ChannelEmptyError):
        rx.try_recv()

    tx.send(None)

    rx.try_recv()
    with pytest.raises(ChannelClosedError):
        rx.try_recv()


async def test_a_waiting_receiver_gets_a_later_value() -> None:
    tx, rx = oneshot.channel[int]()
    asyncio.get_running_loop().call_later(5, tx.send, 1)

    assert await rx.recv() == 1
    assert asyncio.get_running_loop().time() == 5.0


@pytest.mark.parametrize("ticks", range(4))
async def test_a_cancelled_receiver_has_taken_nothing(ticks: int) -> None:
    tx, rx = oneshot.channel[int]()
    async with asyncio.TaskGroup() as tasks:
        receiving = tasks.create_task(rx.recv())
        await asyncio.sleep(0)  # lets it start to wait
        tx.send(1)
        for _ in range(ticks):
            await asyncio.sleep(0)  # lets it get one step further
        receiving.cancel()

    assert (rx.try_recv() if receiving.cancelled() else receiving.result()) == 1


async def test_closing_the_sender_ends_a_waiting_receiver() -> None:
    tx, rx = oneshot.channel[int]()
    asyncio.get_running_loop().call_later(1, tx.close)

    with pytest.raises(ChannelClosedError):
        await rx


async def test_a_closed_receiver_hands_the_value_back() -> None:
    tx, rx = oneshot.channel[int]()
    rx.close()

    with pytest.raises(ChannelClosedError) as caught:
        tx.send(1)

    assert caught.value.item == 1
    assert tx.is_closed


async def test_what_was_sent_before_close_is_still_received() -> None:
    tx, rx = oneshot.channel[int]()
    tx.send(1)
    rx.close()

    assert await rx == 1


async def test_the_sender_learns_that_nobody_wants_the_value(others_run: OthersRun) -> None:
    tx, rx = oneshot.channel[int]()
    async with asyncio.TaskGroup() as tasks:
        unwanted = tasks.create_task(tx.closed())
        await others_run()
        assert not unwanted.done()

        async with rx:
            pass

    assert unwanted.done()
    tx.close()


async def test_a_sender_sends_once() -> None:
    tx, rx = oneshot.channel[int]()
    with rx:
        tx.send(1)
        with pytest.raises(RuntimeError, match="once"):
            tx.send(2)


async def test_a_forgotten_sender_is_reported_and_ends_the_channel() -> None:
    tx, rx = oneshot.channel[int]()
    with pytest.warns(ResourceWarning, match="never closed"):
        del tx  # CPython collects it right here

    with pytest.raises(ChannelClosedError):
        await rx

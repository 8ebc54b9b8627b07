import asyncio

import pytest

from service.channels import channel
from service.errors import ChannelClosedError


async def test_a_closed_handle_refuses_everything_and_its_clones_do_not() -> None:
    tx, rx = channel[int](4)
    with rx, tx.clone() as clone:
        await tx.send(0)
        tx.close()

        for refused in (tx.send(1), tx.send_many([1]), tx.reserve(), tx.send_timeout(1, 1)):
            with pytest.raises(ChannelClosedError):
                await refused
        for refusing in (tx.clone, tx.downgrade, tx.try_reserve):
            with pytest.raises(ChannelClosedError):
                refusing()
        with pytest.raises(ChannelClosedError) as caught:
            tx.try_send(1)
        assert caught.value.item == 1

        assert tx.is_closed
        assert not clone.is_closed
        await clone.send(2)
        assert [rx.try_recv(), rx.try_recv()] == [0, 2]


async def test_an_asynchronous_block_closes_its_sender() -> None:
    tx, rx = channel[int](1)
    with rx:
        async with tx:
            await tx.send(1)
        await tx.aclose()

        assert [item async for item in rx] == [1]


async def test_a_forgotten_sender_is_reported_and_ends_the_channel() -> None:
    tx, rx = channel[int](1)
    with rx:
        with pytest.warns(ResourceWarning, match="never closed"):
            del tx  # CPython collects it right here

        assert rx.is_finished


async def test_a_sender_of_a_dropped_receiver_may_be_forgotten() -> None:
    tx, rx = channel[int](1)
    rx.drop()

    del tx  # any warning fails the test

    assert rx.strong_count == 0


def test_a_sender_collected_after_its_loop_is_closed_wakes_nobody() -> None:
    loop = asyncio.new_event_loop()
    tx, rx = loop.run_until_complete(_make())
    loop.close()

    with pytest.warns(ResourceWarning, match="never closed"):
        del tx  # CPython collects it right here

    assert rx.strong_count == 1
    rx.drop()


async def test_other_channels_are_not_the_same() -> None:
    tx, rx = channel[int](1)
    other_tx, other_rx = channel[int](1)
    with tx, rx, other_tx, other_rx:
        assert not tx.same_channel(other_tx)


async def _make() -> channel[int]:
    return channel[int](1)

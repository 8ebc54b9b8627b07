import asyncio
from collections.abc import Awaitable, Callable

import pytest

from service.channels import watch
from service.errors import ChannelClosedError

OthersRun = Callable[[], Awaitable[None]]


async def test_the_first_value_counts_as_seen() -> None:
    tx, rx = watch.channel[int](1)
    with tx, rx:
        assert not rx.has_changed
        assert rx.value == 1


async def test_a_change_wakes_every_receiver() -> None:
    tx, first = watch.channel[int](1)
    second = tx.subscribe()
    with tx, first, second:
        asyncio.get_running_loop().call_later(3, tx.send, 2)

        seen = await asyncio.gather(first.changed(), second.changed())

        assert list(seen) == [2, 2]
        assert asyncio.get_running_loop().time() == 3.0


async def test_values_between_two_looks_are_conflated() -> None:
    tx, rx = watch.channel[int](0)
    with tx, rx:
        for value in (1, 2, 3):
            tx.send(value)

        assert await rx.changed() == 3
        assert not rx.has_changed


async def test_a_look_does_not_mark_the_value_as_seen() -> None:
    tx, rx = watch.channel[int](0)
    with tx, rx:
        tx.send(1)

        assert rx.value == 1
        assert rx.has_changed
        assert rx.take() == 1
        assert not rx.has_changed


async def test_mark_changed_shows_the_value_again() -> None:
    tx, rx = watch.channel[int](7)
    with tx, rx:
        rx.mark_changed()

        assert await rx.changed() == 7


async def test_wait_for_looks_at_the_current_value_first(others_run: OthersRun) -> None:
    tx, rx = watch.channel[int](5)
    with tx, rx:
        assert await rx.wait_for(lambda value: value == 5) == 5
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(rx.wait_for(lambda value: value > 10))
            tx.send(7)
            await others_run()
            assert not waiting.done()

            tx.send(11)

        assert waiting.result() == 11


async def test_a_last_value_is_seen_after_the_sender_closed_and_then_the_end() -> None:
    tx, rx = watch.channel[int](0)
    with rx:
        tx.send(1)
        tx.close()

        assert await rx.changed() == 1
        with pytest.raises(ChannelClosedError):
            await rx.changed()
        assert rx.value == 1
        assert rx.is_closed


async def test_closing_the_sender_ends_a_waiting_receiver() -> None:
    tx, rx = watch.channel[int](0)
    with rx:
        asyncio.get_running_loop().call_later(1, tx.close)

        with pytest.raises(ChannelClosedError):
            await rx.changed()


@pytest.mark.parametrize("ticks", range(4))
async def test_a_cancelled_wait_has_marked_nothing(ticks: int) -> None:
    tx, rx = watch.channel[int](0)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(rx.changed())
            await asyncio.sleep(0)  # lets it start to wait
            tx.send(1)
            for _ in range(ticks):
                await asyncio.sleep(0)  # lets it get one step further
            waiting.cancel()

        assert rx.has_changed == waiting.cancelled()


async def test_send_fails_without_receivers_and_replace_does_not(others_run: OthersRun) -> None:
    tx, rx = watch.channel[int](0)
    async with asyncio.TaskGroup() as tasks:
        alone = tasks.create_task(tx.closed())
        await others_run()
        rx.close()
    assert alone.done()
    assert tx.is_closed

    with pytest.raises(ChannelClosedError) as caught:
        tx.send(1)
    assert caught.value.item == 1
    assert tx.value == 0
    assert tx.replace(2) == 0
    assert tx.value == 2


async def test_an_equal_value_wakes_nobody() -> None:
    tx, rx = watch.channel[int](1)
    with tx, rx:
        assert not tx.replace_if_changed(1)
        assert not rx.has_changed
        assert tx.replace_if_changed(2)
        assert rx.has_changed


async def test_a_clone_has_seen_what_its_original_has_seen() -> None:
    tx, rx = watch.channel[int](0)
    with tx, rx:
        tx.send(1)
        with rx.clone() as unseen, tx.subscribe() as seen:
            assert unseen.has_changed
            assert not seen.has_changed
            assert tx.receiver_count == 3


async def test_a_closed_sender_refuses_and_a_closed_receiver_waits_for_nothing() -> None:
    tx, rx = watch.channel[int](0)
    tx.close()
    with pytest.raises(ChannelClosedError):
        tx.send(1)
    rx.mark_changed()
    rx.close()

    with pytest.raises(ChannelClosedError):
        await rx.changed()


async def test_a_forgotten_sender_is_reported_and_ends_the_channel() -> None:
    tx, rx = watch.channel[int](0)
    with rx:
        with pytest.warns(ResourceWarning, match="never closed"):
            del tx  # CPython collects it right here

        with pytest.raises(ChannelClosedError):
            await rx.changed()


async def test_a_forgotten_receiver_is_not_counted() -> None:
    tx, rx = watch.channel[int](0)
    with tx:
        del rx  # CPython collects it right here

        assert tx.receiver_count == 0

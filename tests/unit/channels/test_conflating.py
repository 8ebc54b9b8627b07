import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.channels import Conflate, Overflow, channel
from service.errors import ChannelEmptyError, ChannelFullError

OthersRun = Callable[[], Awaitable[None]]
Reading = tuple[str, int]

BY_NAME = Conflate(key=lambda reading: reading[0])


async def test_a_newer_item_replaces_the_one_of_its_key_and_keeps_its_place() -> None:
    tx, rx = channel[Reading](3, overflow=BY_NAME)
    with rx:
        await tx.send_many([("a", 1), ("b", 1), ("a", 2)])
        await tx.send(("a", 3))
        tx.close()

        assert [reading async for reading in rx] == [("a", 3), ("b", 1)]
        assert rx.statistics().conflated_count == 2
        assert rx.statistics().sent_count == 4


async def test_a_waiting_receiver_is_woken(others_run: OthersRun) -> None:
    tx, rx = channel[Reading](1, overflow=BY_NAME)
    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(rx.recv())
            await others_run()

            await tx.send(("a", 1))

        assert receiving.result() == ("a", 1)


async def test_a_key_already_received_starts_anew() -> None:
    tx, rx = channel[Reading](1, overflow=BY_NAME)
    with tx, rx:
        await tx.send(("a", 1))
        assert await rx.recv() == ("a", 1)
        await tx.send(("a", 2))

        assert rx.try_recv() == ("a", 2)
        assert rx.capacity == 1


async def test_a_new_key_in_a_full_channel_drops_the_oldest() -> None:
    tx, rx = channel[Reading](2, overflow=BY_NAME)
    with tx, rx:
        await tx.send_many([("a", 1), ("b", 1), ("c", 1)])

        buffer: list[Reading] = []
        assert await rx.recv_many(buffer, 9) == 2
        assert buffer == [("b", 1), ("c", 1)]
        assert rx.statistics().dropped_oldest_count == 1


async def test_a_new_key_in_a_full_channel_may_be_refused_instead() -> None:
    policy = Conflate(key=BY_NAME.key, when_full=Overflow.REJECT)
    tx, rx = channel[Reading](1, overflow=policy)
    with tx, rx:
        await tx.send(("a", 1))
        with pytest.raises(ChannelFullError):
            await tx.send(("b", 1))
        await tx.send(("a", 2))

        assert rx.try_recv() == ("a", 2)


async def test_a_permit_whose_key_is_buffered_gives_its_slot_back() -> None:
    tx, rx = channel[Reading](2, overflow=BY_NAME)
    with tx, rx:
        permit = await tx.reserve()
        await tx.send(("a", 1))
        assert rx.capacity == 0

        permit.send(("a", 2))

        assert rx.capacity == 1
        assert rx.try_recv() == ("a", 2)


async def test_drop_oldest_finds_nothing_to_drop_if_permits_hold_every_slot() -> None:
    tx, rx = channel[Reading](1, overflow=BY_NAME)
    with tx, rx, await tx.reserve():
        await tx.send(("a", 1))

        assert rx.statistics().dropped_newest_count == 1


async def test_dropping_the_receiver_destroys_what_is_buffered() -> None:
    tx, rx = channel[Reading](2, overflow=BY_NAME)
    with tx:
        await tx.send(("a", 1))
        rx.drop()

        assert tx.statistics().destroyed_count == 1
        assert tx.capacity == 2


@given(
    capacity=st.integers(1, 3),
    steps=st.lists(st.none() | st.sampled_from("abcde"), max_size=50),
)
def test_the_buffer_holds_the_latest_of_each_key_in_order_of_arrival(
    capacity: int, steps: list[str | None]
) -> None:
    tx, rx = channel[Reading](capacity, overflow=BY_NAME)
    model: dict[str, int] = {}
    with tx, rx:
        for number, name in enumerate(steps):
            if name is not None:
                if name not in model and len(model) == capacity:
                    del model[next(iter(model))]
                model[name] = number
                tx.try_send((name, number))
            elif model:
                oldest = next(iter(model))
                assert rx.try_recv() == (oldest, model.pop(oldest))
            else:
                with pytest.raises(ChannelEmptyError):
                    rx.try_recv()
            assert (len(rx), rx.capacity) == (len(model), capacity - len(model))


async def test_a_permit_whose_item_has_no_key_gives_its_slot_back() -> None:
    tx, rx = channel[dict[str, int]](1, overflow=Conflate(key=lambda item: item["id"]))
    with tx, rx:
        permit = tx.try_reserve()

        with pytest.raises(KeyError):
            permit.send({})

        assert tx.capacity == 1

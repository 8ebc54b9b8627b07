import pytest

from service.channels import channel
from service.errors import ChannelClosedError, ChannelEmptyError, ChannelFullError


async def test_a_permit_is_used_once() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        permit = await tx.reserve()
        permit.send(1)

        with pytest.raises(RuntimeError, match="already used"):
            permit.send(2)
        permit.release()
        assert tx.capacity == 0


async def test_an_unused_permit_gives_its_slot_back_at_the_end_of_its_block() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        async with tx.try_reserve():
            with pytest.raises(ChannelFullError):
                tx.try_reserve()

        assert tx.capacity == 1


async def test_a_forgotten_permit_is_reported_and_frees_its_slot() -> None:
    tx, rx = channel[int](3)
    with tx, rx:
        permit = await tx.reserve()
        with pytest.warns(ResourceWarning, match="never closed"):
            del permit  # CPython collects it right here
        permits = await tx.reserve_many(2)
        with pytest.warns(ResourceWarning, match="never closed"):
            del permits

        assert tx.capacity == 3


async def test_several_permits_come_one_at_a_time_and_the_rest_is_given_back() -> None:
    tx, rx = channel[int](4)
    with tx, rx:
        with await tx.reserve_many(3) as permits:
            assert len(permits) == 3
            for number, permit in zip(range(2), permits, strict=False):
                permit.send(number)
            assert tx.capacity == 1

        assert len(permits) == 0
        assert list(permits) == []
        assert tx.capacity == 2
        assert [rx.try_recv(), rx.try_recv()] == [0, 1]


async def test_an_owned_permit_released_gives_its_sender_back() -> None:
    tx, rx = channel[int](1)
    with rx:
        permit = tx.try_reserve_owned()
        with pytest.raises(ChannelClosedError):
            tx.try_send(1)

        with permit.release() as sender:
            assert sender.capacity == 1
            assert sender.strong_count == 1
            sender.try_send(2)
        with pytest.raises(RuntimeError, match="already used"):
            permit.release()

        assert rx.try_recv() == 2


async def test_an_owned_permit_at_the_end_of_its_block_closes_its_sender() -> None:
    tx, rx = channel[int](1)
    with rx:
        with await tx.reserve_owned(), pytest.raises(ChannelEmptyError):
            rx.try_recv()

        assert rx.is_finished
        assert rx.capacity == 1


async def test_a_forgotten_owned_permit_is_reported_and_ends_the_channel() -> None:
    tx, rx = channel[int](1)
    with rx:
        permit = await tx.reserve_owned()
        with pytest.warns(ResourceWarning, match="never closed"):
            del permit  # CPython collects it right here

        with pytest.raises(ChannelClosedError):
            await rx.recv()


async def test_an_owned_permit_that_cannot_be_had_leaves_the_sender_as_it_was() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        tx.try_send(1)
        with pytest.raises(ChannelFullError):
            tx.try_reserve_owned()

        assert not tx.is_closed
        rx.close()
        with pytest.raises(ChannelClosedError):
            tx.try_reserve_owned()
        with pytest.raises(ChannelClosedError):
            await tx.reserve_owned()

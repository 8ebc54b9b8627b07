import pytest

from service.channels import Overflow, channel
from service.errors import ChannelFullError


@pytest.mark.parametrize("word", ["wait", "reject", "drop_newest", "drop_oldest"])
def test_the_values_are_the_words_of_the_configuration(word: str) -> None:
    assert Overflow(word).value == word


async def test_reject_hands_the_item_back_and_counts_it() -> None:
    tx, rx = channel[int](1, overflow=Overflow.REJECT)
    with tx, rx:
        await tx.send(1)

        with pytest.raises(ChannelFullError) as caught:
            await tx.send(2)

        assert caught.value.item == 2
        assert rx.statistics().rejected_count == 1
        assert rx.statistics().dropped_count == 0
        assert rx.try_recv() == 1


async def test_reject_of_a_batch_hands_back_what_did_not_fit() -> None:
    tx, rx = channel[int](3, overflow=Overflow.REJECT)
    with tx, rx:
        with pytest.raises(ChannelFullError) as caught:
            await tx.send_many([1, 2, 3, 4, 5])

        assert caught.value.item == [4, 5]
        assert await rx.recv_many([], 9) == 3


async def test_drop_newest_keeps_what_is_buffered() -> None:
    tx, rx = channel[int](2, overflow=Overflow.DROP_NEWEST)
    with rx:
        await tx.send_many([1, 2, 3])
        await tx.send(4)
        tx.try_send(5)
        tx.close()

        assert rx.statistics().dropped_newest_count == 3
        assert rx.statistics().sent_count == 2
        assert [item async for item in rx] == [1, 2]


async def test_drop_oldest_keeps_the_latest() -> None:
    tx, rx = channel[int](2, overflow=Overflow.DROP_OLDEST)
    with rx:
        await tx.send_many([1, 2, 3])
        await tx.send(4)
        tx.try_send(5)
        tx.close()

        assert rx.statistics().dropped_oldest_count == 3
        assert rx.statistics().sent_count == 5
        assert [item async for item in rx] == [4, 5]
        assert rx.capacity == 2


async def test_drop_oldest_drops_the_new_item_if_permits_hold_every_slot() -> None:
    tx, rx = channel[int](1, overflow=Overflow.DROP_OLDEST)
    with tx, rx, await tx.reserve():
        await tx.send(1)

        assert rx.statistics().dropped_newest_count == 1
        assert len(rx) == 0


async def test_drop_oldest_agrees_with_items_taken_in_between() -> None:
    tx, rx = channel[int](3, overflow=Overflow.DROP_OLDEST)
    with tx, rx:
        await tx.send_many([1, 2, 3])
        assert await rx.recv() == 1
        assert await rx.recv() == 2
        await tx.send_many([4, 5, 6])

        assert await rx.recv() == 4
        assert (len(rx), rx.capacity) == (2, 1)

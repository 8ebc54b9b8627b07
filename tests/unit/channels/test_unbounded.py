import pytest

from service.channels import unbounded_channel
from service.errors import ChannelClosedError


async def test_sends_and_receives_interleave_in_order() -> None:
    tx, rx = unbounded_channel[int]()
    received = []
    with tx, rx:
        for number in range(500):
            tx.send(number)
            if number % 3:
                received.append(await rx.recv())
        while len(rx):
            received.append(rx.try_recv())

    assert received == list(range(500))
    assert rx.statistics().capacity is None
    assert rx.statistics().received_count == 500


async def test_the_peak_is_known() -> None:
    tx, rx = unbounded_channel[int]()
    with tx, rx:
        tx.send_many(range(10))
        tx.send_many([])
        await rx.recv_many([], 5)
        for number in range(3):
            tx.send(number)

        assert rx.statistics().peak == 10
        assert rx.statistics().depth == 8


async def test_weak_and_cloned_senders_count() -> None:
    tx, rx = unbounded_channel[int]()
    with rx:
        weak = tx.downgrade()
        with tx.clone() as clone:
            tx.close()
            upgraded = weak.upgrade()
            assert upgraded is not None
            with upgraded:
                assert upgraded.same_channel(clone)
                upgraded.send(1)

        assert weak.upgrade() is None
        with pytest.raises(ChannelClosedError):
            tx.clone()
        assert [item async for item in rx] == [1]

from service.channels import Overflow, channel


async def test_the_counts_add_up() -> None:
    tx, rx = channel[int](3, overflow=Overflow.DROP_OLDEST)
    with tx:
        await tx.send_many(range(5))
        await rx.recv()
        weak = tx.downgrade()
        permit = await tx.reserve()
        before = rx.statistics()
        permit.release()
        rx.drop()
        after = tx.statistics()

    assert before.sent_count == 5
    assert (before.depth, before.peak, before.buffered_count, before.permits_out) == (2, 3, 2, 1)
    assert before.dropped_count == before.dropped_oldest_count == 2
    assert (before.senders, before.weak_senders, before.closed) == (1, 1, False)
    assert after.closed
    for statistics in (before, after):
        assert statistics.sent_count == (
            statistics.received_count
            + statistics.buffered_count
            + statistics.dropped_oldest_count
            + statistics.conflated_count
            + statistics.destroyed_count
        )
    assert weak.strong_count == 0


async def test_waiting_is_visible_on_either_side() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        assert not rx.statistics().receiver_waiting
        assert rx.statistics().waiting_senders_peak == 0

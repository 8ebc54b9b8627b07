"""Batches of one partition, from delivery until nothing can become of them any more."""

from service.consumers.kafka_delivered import Delivered
from service.events import RecordBatch, SourceRecord


def batch_at(first: int, count: int = 2) -> RecordBatch:
    records = [SourceRecord(b"", offset=first + place) for place in range(count)]
    return RecordBatch("logs", 0, records, next_offset=first + count)


def delivered_of(*batches: RecordBatch) -> Delivered:
    delivered = Delivered()
    for batch in batches:
        delivered.add(batch)
    return delivered


def test_finished_batches_are_let_go_when_the_next_is_delivered() -> None:
    first, second, third = batch_at(0), batch_at(2), batch_at(4)
    delivered = delivered_of(first, second)
    first.ack_many([0, 1])

    delivered.add(third)

    assert delivered.live == [second, third]


def test_a_record_that_waits_for_its_next_attempt_was_begun() -> None:
    batch = batch_at(0)
    delivered = delivered_of(batch)
    batch.note_attempts(1, 1)  # it runs no more, and is not durable

    parked = (delivered.in_flight, delivered.anything_begun)
    batch.ack(1)

    assert parked == (0, True)
    assert not delivered.anything_begun


def test_a_partition_that_is_lost_twice_keeps_what_is_left_of_both_times() -> None:
    first, second, done = batch_at(0), batch_at(2), batch_at(4)
    delivered = delivered_of(first)
    delivered.keep()
    delivered.begin()
    delivered.add(second)
    delivered.add(done)
    done.ack_many([0, 1])
    delivered.keep()

    left = delivered.drop_kept()

    assert left == [first, second]
    assert [batch.revoked for batch in (first, second, done)] == [True, True, False]
    assert (delivered.live, delivered.kept) == ([], [])


def test_what_is_closing_begins_nothing_and_may_finish_what_it_began_elsewhere() -> None:
    leaving, later = batch_at(0), batch_at(2)
    delivered = delivered_of(leaving)

    delivered.close(finishing=True)
    delivered.add(later)

    assert (leaving.closing, leaving.finishing) == (True, True)
    assert (later.closing, later.finishing) == (False, False)

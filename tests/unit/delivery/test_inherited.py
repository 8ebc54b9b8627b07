from service.delivery.inherited import Inherited
from service.events import RecordBatch, SourceRecord


def batch_of(*offsets: int, next_offset: int) -> RecordBatch:
    records = [SourceRecord(b"", offset=offset) for offset in offsets]
    return RecordBatch("in", 0, records, next_offset=next_offset)


def test_each_attempt_goes_to_the_batch_of_its_record_once() -> None:
    inherited = Inherited({11: 2, 14: 1, 30: 3})
    first, second = batch_of(10, 11, 14, next_offset=20), batch_of(20, 21, next_offset=22)

    inherited.give(first)
    inherited.give(second)

    assert first.inherited == first.attempts == {1: 2, 2: 1}
    assert second.attempts is None
    assert inherited.attempts_with([]) == {30: 3}


def test_what_is_not_finished_is_passed_on_with_what_has_not_come() -> None:
    inherited = Inherited({11: 2, 30: 3})
    batch = batch_of(10, 11, 12, next_offset=20)
    inherited.give(batch)
    batch.note_attempts(0, 1)
    batch.note_attempts(1, 5)

    assert inherited.attempts_with([batch]) == {10: 1, 11: 5, 30: 3}
    batch.ack(1)
    assert inherited.attempts_with([batch]) == {10: 1, 30: 3}
    batch.ack_many([0, 2])
    assert inherited.attempts_with([batch]) == {30: 3}


def test_a_record_that_compaction_took_has_no_attempts_any_more() -> None:
    inherited = Inherited({11: 2})

    inherited.give(batch_of(10, 12, next_offset=13))

    assert inherited.attempts_with([]) == {}


def test_what_single_handlers_are_finished_with_is_told_until_it_has_been_passed() -> None:
    inherited = Inherited(finished_by={"a": [(11, 15)]})
    first, second = batch_of(10, 11, 14, next_offset=15), batch_of(20, next_offset=21)

    inherited.give(first)
    inherited.give(second)
    inherited.passed(13)

    assert first.finished_by == {"a": {1, 2}}
    assert second.finished_by is None
    assert inherited.finished_by == {"a": [(13, 15)]}
    inherited.passed(15)
    assert inherited.finished_by == {}

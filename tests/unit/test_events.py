import pickle

from service.events import Event, Handled, Outcome, RecordBatch, SourceRecord


def batch_of(count: int) -> RecordBatch:
    records = [SourceRecord(b"", offset=offset) for offset in range(count)]
    return RecordBatch("in", 0, records, next_offset=count)


def test_a_record_may_wait_for_as_many_effects_as_a_tick_has_results() -> None:
    batch = batch_of(1)

    batch.hold(0, 99_999)
    for _ in range(99_999):
        batch.ack(0)

    assert batch.left == 1
    batch.ack(0)
    assert batch.left == 0


def test_events_are_told_apart_by_what_they_are_and_not_by_what_they_hold() -> None:
    one, same = Event({"a": 1}), Event({"a": 1})

    assert one != same
    assert len({one, same}) == 2


def test_an_event_survives_the_way_to_another_process() -> None:
    event = pickle.loads(pickle.dumps(Event({"a": 1}, b"k", 5, index=0)))  # noqa: S301 -- ours

    assert (event.data, event.key, event.timestamp) == ({"a": 1}, b"k", 5)


def test_a_run_is_the_same_as_an_outcome_for_each_of_its_records() -> None:
    batch = batch_of(3)

    outcomes = Handled(batch, [0, 2], [{"n": 0}, {"n": 2}]).outcomes()

    assert [(o.batch, o.index, o.results, o.failure) for o in outcomes] == [
        (batch, 0, {"n": 0}, None),
        (batch, 2, {"n": 2}, None),
    ]
    assert all(type(outcome) is Outcome for outcome in outcomes)

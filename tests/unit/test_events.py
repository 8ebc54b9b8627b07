import pickle
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

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


STEPS = st.lists(
    st.tuples(st.sampled_from(["ack", "many", "all but"]), st.sets(st.integers(0, 5))), max_size=8
)


@given(effects=st.integers(1, 3), held=st.lists(st.integers(0, 5), max_size=2), steps=STEPS)
def test_many_acknowledgements_at_once_are_the_same_as_one_by_one(
    effects: int, held: list[int], steps: list[tuple[str, set[int]]]
) -> None:
    told: list[Any] = []
    left = dict.fromkeys(range(6), effects)
    batch = batch_of(6)
    batch.observer = told.append
    batch.fan_out([str(n) for n in range(effects)])
    for index in held:
        batch.hold(index)
        left[index] += 1
    for way, chosen in steps:
        acknowledged = chosen
        if way == "all but":
            batch.ack_all_but(sorted(chosen))
            acknowledged = set(range(6)) - chosen
        elif way == "many":
            batch.ack_many(sorted(chosen))
        else:
            for index in chosen:
                batch.ack(index)
        for index in acknowledged:
            left[index] = max(0, left[index] - 1)

        assert list(batch.done) == [int(not left[index]) for index in range(6)]
        assert batch.left == sum(bool(count) for count in left.values())
        assert len(told) == int(not batch.left)

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.chained import ChainedBatch
from service.events import Permission, Record, RecordBatch, SourceRecord


def untold(indexes: Sequence[int]) -> None:
    """Somebody who does not want to know."""


def source(count: int, *, first: int = 10) -> RecordBatch:
    records = [SourceRecord(b"%d" % n, key=b"k", offset=first + n) for n in range(count)]
    return RecordBatch("orders", 3, records, next_offset=first + count)


def chained(
    upstream: RecordBatch,
    places: Sequence[int],
    *,
    via: str = "parse/up",
    passed_on: Any = None,
) -> ChainedBatch:
    records = [
        SourceRecord(b"result", key=b"k", offset=upstream.records[place].offset) for place in places
    ]
    return ChainedBatch(
        upstream,
        places,
        records,
        via=via,
        passed_on=untold if passed_on is None else passed_on,
    )


def test_a_result_that_is_done_acknowledges_its_record() -> None:
    first = source(3)
    second = chained(first, [0, 2])

    second.ack(1)

    assert list(first.done) == [0, 0, 1]


def test_an_acknowledgement_comes_through_once_however_often_it_is_given() -> None:
    first = source(2)
    first.hold(0)  # two results of record 0: one is here
    second = chained(first, [0])

    second.ack(0)
    second.ack(0)
    second.ack_many([0, 0])

    assert not first.done[0]


def test_a_filter_that_wants_few_results_acknowledges_the_other_records() -> None:
    first = source(4)
    second = chained(first, [3, 2, 1])

    second.ack_all_but([1])

    assert list(first.done) == [0, 1, 0, 1]


def test_the_writer_is_told_before_the_record_is_acknowledged() -> None:
    first = source(1)
    seen: list[tuple[Sequence[int], int]] = []
    second = chained(first, [0], passed_on=lambda indexes: seen.append((indexes, first.left)))

    second.ack(0)

    assert seen == [((0,), 1)]


def test_a_result_with_several_handlers_waits_for_all_of_them() -> None:
    first = source(1)
    second = chained(first, [0])
    second.fan_out(("a", "b"))

    second.ack_many([0])
    waiting = first.left
    second.ack_many([0])

    assert (waiting, first.left) == (1, 0)


def test_what_is_said_of_the_first_batch_holds_for_every_one_behind_it() -> None:
    first = source(1)
    third = chained(chained(first, [0]), [0])

    first.closing = first.revoked = True
    third.closing = third.revoked = False  # nobody but the source decides

    assert (third.closing, third.revoked, third.permission()) == (True, True, Permission.NEVER)


def test_places_are_those_of_the_original_and_paths_tell_results_apart() -> None:
    first = source(2)
    second = chained(first, [1], via="parse/up")
    other = chained(first, [1], via="parse/up:1")
    third = chained(second, [0], via="check/ok")

    assert (third.topic, third.partition, third.records[0].offset) == ("orders", 3, 11)
    assert third.path == "check/ok/parse/up/orders"
    assert {batch.record_id(0) for batch in (second, other, third)} == {
        "parse/up/11",
        "parse/up:1/11",
        "check/ok/parse/up/11",
    }


def test_the_original_of_a_result_is_what_the_source_delivered() -> None:
    first = source(2)
    third = chained(chained(first, [1]), [0])

    assert third.original(0) is first.records[1]


def test_a_timers_result_is_its_own_original() -> None:
    timer: Record = SourceRecord(None, offset=5)
    second = chained(RecordBatch("p.h", 0, [timer], next_offset=6), [0])

    assert second.original(0).value == b"result"


def test_attempts_are_counted_where_they_survive_a_restart() -> None:
    first = source(2)
    first.inherited = {1: 1}
    first.note_attempts(1, 2)
    second = chained(first, [0, 1])

    second.note_attempts(0, 3)

    assert second.inherited == {1: 1}  # what upstream failed of in this process is its own
    assert first.attempts == {0: 3, 1: 2}


def test_a_dead_letter_is_told_to_the_producer_of_the_original() -> None:
    told: list[int] = []

    class Answering(RecordBatch):
        def dead_lettered(self, index: int) -> None:
            told.append(index)

    first = Answering("orders", 0, source(2).records, next_offset=12)

    chained(chained(first, [1]), [0]).dead_lettered(0)

    assert told == [1]


def test_a_record_whose_result_waits_in_a_channel_is_not_in_flight() -> None:
    first = source(2)
    first.dispatched = 2
    second = chained(first, [0, 1])

    waiting = first.in_flight
    second.dispatched = 2
    third = chained(second, [0])
    one_waits_further_down = first.in_flight
    third.dispatched = 1
    both_run = first.in_flight
    third.ack(0)
    one_is_done = first.in_flight

    assert (waiting, one_waits_further_down, both_run, one_is_done) == (0, 1, 2, 1)


def test_a_batch_lets_go_of_those_behind_it_that_are_done() -> None:
    first = source(1)
    second = chained(first, [0])
    told: list[RecordBatch] = []
    second.observer = told.append

    second.ack(0)

    assert (first.chained, told) == (set(), [second])


class _Tree:
    """Records, the results made of them, the results made of those, as hypothesis draws it.

    The model beside it is what the sentence says: an original is done when every leaf is.
    """

    def __init__(self, data: st.DataObject) -> None:
        self.draw = data.draw
        self.first = source(self.draw(st.integers(1, 4), label="records"))
        self.leaves: dict[int, set[tuple[int, int]]] = {n: set() for n in range(len(self.first))}
        self.batches: list[RecordBatch] = []
        self._grow(self.first, list(range(len(self.first))), depth=0)

    def _grow(self, batch: RecordBatch, roots: list[int], depth: int) -> None:
        """Make results of every record of ``batch``, or make it a leaf."""
        number = len(self.batches)
        self.batches.append(batch)
        made: list[list[int]] = []  # by the place among a record's results
        for index, root in enumerate(roots):
            count = 0 if depth > 2 else self.draw(st.integers(0, 3), label="results")
            if not count:
                self.leaves[root].add((number, index))
                continue
            if count > 1:
                batch.hold(index, count - 1)
            for place in range(count):
                if place == len(made):
                    made.append([])
                made[place].append(index)
        for place, indexes in enumerate(made):
            behind = chained(batch, indexes, via=f"p{depth}/h:{place}")
            self._grow(behind, [roots[index] for index in indexes], depth + 1)


@given(st.data())
def test_a_record_is_done_exactly_when_everything_made_of_it_is(data: st.DataObject) -> None:
    tree = _Tree(data)
    order = data.draw(st.permutations([leaf for leaves in tree.leaves.values() for leaf in leaves]))
    left = {root: set(leaves) for root, leaves in tree.leaves.items()}

    while order:
        number, index = order.pop()
        together = [at for at in order if at[0] == number and data.draw(st.booleans())]
        order = [at for at in order if at not in together]
        indexes = [index, *(at[1] for at in together)]
        if data.draw(st.booleans()):
            tree.batches[number].ack_many(indexes)
        else:
            for each in indexes:
                tree.batches[number].ack(each)
        for leaves in left.values():
            leaves.difference_update((number, each) for each in indexes)

        assert list(tree.first.done) == [int(not leaves) for leaves in left.values()]

    assert tree.first.left == 0
    assert all(not batch.chained for batch in tree.batches)


@given(st.lists(st.integers(0, 5), unique=True), st.sets(st.integers(0, 5)))
def test_all_but_some_is_the_same_as_each_of_the_others(
    finished: list[int], kept: set[int]
) -> None:
    one, other = source(6), source(6)
    first, second = chained(one, range(6)), chained(other, range(6))
    for batch in (first, second):
        batch.ack_many(finished)

    first.ack_all_but(sorted(kept))
    second.ack_many(index for index in range(6) if index not in kept)

    assert (one.done, first.done, first.left) == (other.done, second.done, second.left)

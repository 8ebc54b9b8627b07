"""Which handlers are finished with records that others have left: one owner tells the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.handed_over import above, tell, with_absent
from service.delivery.skips import Range
from service.events import Handover, RecordBatch, SourceRecord

HANDLERS = ("a", "b", "c")


class Shared(RecordBatch):
    """One whose next reader is told who is finished."""

    __slots__ = ()

    @property
    def handover(self) -> Handover:
        return Handover.BY_HANDLER


@dataclass(frozen=True)
class Case:
    """A record: how far it is from the one before, and what becomes of it.

    Attributes:
        hole: Offsets without a record before it.
        begun: Whether anybody has begun it.
        left: Who has left it.
        finished: Who is finished with it, of those that have not.
    """

    hole: int
    begun: bool
    left: frozenset[str]
    finished: frozenset[str]


subsets = st.frozensets(st.sampled_from(HANDLERS))
cases = st.builds(Case, hole=st.integers(0, 2), begun=st.booleans(), left=subsets, finished=subsets)


def batches_of(records: Sequence[Case], cuts: Sequence[int]) -> list[RecordBatch]:
    """The batches of one partition after all of that has happened; finished ones are let go."""
    batches: list[RecordBatch] = []
    offset = 0
    bounds = sorted({0, *(cut for cut in cuts if cut < len(records)), len(records)})
    for start, end in pairwise(bounds):
        some: list[SourceRecord] = []
        for case in records[start:end]:
            offset += case.hole
            some.append(SourceRecord(b"", offset=offset))
            offset += 1
        batch = Shared("in", 0, some, next_offset=offset)
        batch.fan_out(HANDLERS)
        assert batch.begun is not None
        for index, case in enumerate(records[start:end]):
            batch.begun[index] = case.begun
            for name in sorted(case.left):
                batch.leave(index, name)
            if case.begun:
                for _ in case.finished - case.left:
                    batch.ack(index)
        batches.append(batch)
    return [batch for batch in batches if batch.left]


def covers(ranges: Sequence[Range], offset: int) -> bool:
    return any(start <= offset < end for start, end in ranges)


@given(st.lists(cases, max_size=12), st.lists(st.integers(1, 11), max_size=3))
def test_who_is_told_to_be_finished_is(records: list[Case], cuts: list[int]) -> None:
    batches = batches_of(records, cuts)
    told = with_absent({}, batches)

    offset = 0
    for case in records:
        offset += case.hole
        finished = case.finished - case.left if case.begun else frozenset[str]()
        everybody = finished == set(HANDLERS)
        shared_out = case.begun and case.left and case.left | finished == set(HANDLERS)
        for name in HANDLERS:
            says = covers(told.get(name, ()), offset)
            if shared_out:
                assert says is (name in finished)
            elif not everybody:
                assert not says
        offset += 1


@given(st.lists(cases, max_size=12), st.lists(st.integers(1, 11), max_size=3))
def test_what_is_shared_out_is_not_in_flight(records: list[Case], cuts: list[int]) -> None:
    batches = batches_of(records, cuts)

    in_flight = 0
    for case in records:
        finished = case.finished - case.left
        if case.begun:
            in_flight += case.left | finished != set(HANDLERS)
    assert sum(batch.in_flight for batch in batches) == in_flight


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.dictionaries(st.sampled_from(HANDLERS), st.sets(st.integers(0, 40))),
)
def test_a_batch_is_told_of_its_own_records(holes: list[int], offsets: dict[str, set[int]]) -> None:
    records: list[SourceRecord] = []
    at = 5
    for hole in holes:
        at += hole
        records.append(SourceRecord(b"", offset=at))
        at += 1
    batch = RecordBatch("in", 0, records, next_offset=at)
    tell(
        batch, {name: [(each, each + 1) for each in sorted(some)] for name, some in offsets.items()}
    )

    for name in HANDLERS:
        mine = (batch.finished_by or {}).get(name, ())
        expected = offsets.get(name, set[int]())
        assert [index in mine for index in range(len(records))] == [
            record.offset in expected for record in records
        ]


def test_what_an_earlier_owner_told_is_kept_above_the_position() -> None:
    assert above({"a": [(1, 5), (7, 9)], "b": [(0, 3)]}, 3) == {"a": [(3, 5), (7, 9)]}


def test_what_was_left_in_two_assignments_is_told_in_one() -> None:
    """Of a partition that was lost and came straight back: its records were read twice."""
    case = Case(0, begun=True, left=frozenset("b"), finished=frozenset("ac"))
    first = batches_of([case] * 4, [])
    second = batches_of([case] * 2, [])

    assert with_absent({"a": [(6, 8)]}, [*first, *second]) == {
        "a": [(0, 4), (6, 8)],
        "c": [(0, 4)],
    }

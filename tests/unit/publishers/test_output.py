from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.base import Row
from service.publishers.output import OutputPartition, Sealed
from service.publishers.runs import Run, count_by_owner
from tests.unit.publishers.owners import Owner

OWNER = Owner()


class AskedBatch(RecordBatch):
    """A batch that is said to be ours, or not, or nobody knows."""

    def __init__(self, batch: RecordBatch, answer: Permission) -> None:
        super().__init__("in", 0, batch.records, next_offset=batch.next_offset)
        self.answer = answer

    def permission(self) -> Permission:
        return self.answer


def batch_of(count: int) -> RecordBatch:
    records = [SourceRecord(b"", offset=offset) for offset in range(count)]
    return RecordBatch("in", 0, records, next_offset=count)


def rows_of(count: int) -> list[Row]:
    return [(1000 + at, b"k", b"%d" % at, []) for at in range(count)]


def sealed_of(*lengths: int) -> Sealed:
    """A batch whose runs have these lengths, each of an input batch of its own."""
    runs = [Run(batch_of(length), list(range(length)), OWNER) for length in lengths]
    return Sealed(runs, 100 * sum(lengths), rows=rows_of(sum(lengths)))


def told(sealed: Sealed) -> list[tuple[int, int, bytes | None]]:
    return [(id(entry.batch), entry.place, entry.value) for entry in sealed.entries()]


LENGTHS = st.lists(st.integers(1, 5), min_size=1, max_size=5)


@given(LENGTHS, st.data())
def test_cutting_loses_nothing_and_keeps_the_order(lengths: list[int], data: st.DataObject) -> None:
    sealed = sealed_of(*lengths)
    whole = told(sealed)

    first, others = sealed.cut(data.draw(st.integers(0, sealed.count)))

    assert told(first) + told(others) == whole
    assert first.count + others.count == sealed.count
    assert first.size_bytes + others.size_bytes == sealed.size_bytes


@given(LENGTHS, st.data())
def test_what_may_go_what_waits_and_what_never_may_keep_their_order(
    lengths: list[int], data: st.DataObject
) -> None:
    sealed = sealed_of(*lengths)
    answers: dict[int, Permission] = {}
    for run in sealed.runs:
        run.batch = AskedBatch(run.batch, data.draw(st.sampled_from(Permission)))
        answers[id(run.batch)] = run.batch.permission()
    whole = told(sealed)

    parts = sealed.by_permission()

    assert set(parts) == set(answers.values())
    for answer, part in parts.items():
        assert told(part) == [entry for entry in whole if answers[entry[0]] is answer]
    assert sum(part.size_bytes for part in parts.values()) == sealed.size_bytes
    assert sum(part.count for part in parts.values()) == sealed.count


def test_neighbours_of_one_input_batch_become_one_run() -> None:
    output = OutputPartition("out", 0, 1_000_000)
    one, other = batch_of(4), batch_of(1)

    output.note(Run(one, [0, 1], OWNER), 20)
    output.note(Run(one, [2], OWNER), 10)
    output.note(Run(one, [3], OWNER, failed=True), 10)
    output.note(Run(other, [0], OWNER), 10)

    assert [(run.batch, run.places) for run in output.runs] == [
        (one, [0, 1, 2]),
        (one, [3]),
        (other, [0]),
    ]
    assert output.size_bytes == 50
    assert output.pending == 5


class Writer:
    """Has three records and knows how often it was read back."""

    def __init__(self) -> None:
        self.size_bytes = 300
        self.count = 3
        self.read_back = 0

    def append(self, *row: object) -> bool:
        raise AssertionError(row)

    def extend(self, rows: Sequence[Row], start: int) -> int:
        raise AssertionError((rows, start))

    def rows(self) -> list[Row]:
        self.read_back += 1
        return rows_of(3)


def test_what_is_on_the_wire_is_read_back_once_when_its_producer_is_gone() -> None:
    output = OutputPartition("out", 0, 1_000_000)
    writer = Writer()
    output.writer = writer
    output.note(Run(batch_of(3), [0, 1, 2], OWNER), 300)
    output.seal()
    output.on_wire = output.sealed.popleft()
    output.note(Run(batch_of(1), [0], OWNER), 10)
    output.rows = rows_of(1)

    output.unsent()
    output.unsent()  # the next producer has failed too

    assert [batch.count for batch in output.sealed] == [3, 1]
    assert [batch.writer for batch in output.sealed] == [None, None]
    assert [batch.rows for batch in output.sealed] == [rows_of(3), rows_of(1)]
    assert writer.read_back == 1


def test_a_refused_batch_goes_back_as_two_halves_in_order() -> None:
    output = OutputPartition("out", 0, 1_000_000)
    refused = sealed_of(2, 3)
    whole = told(refused)

    output.split(refused)

    assert [entry for batch in output.sealed for entry in told(batch)] == whole
    assert [batch.count for batch in output.sealed] == [2, 3]


def test_records_are_counted_by_owner() -> None:
    other = Owner()
    runs = [Run(batch_of(2), [0, 1], OWNER), Run(batch_of(1), [0], other)]

    assert count_by_owner(runs) == {OWNER: 2, other: 1}

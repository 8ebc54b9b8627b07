"""What may be committed while records finish in any order."""

import doctest
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.delivery import offsets as offsets_module
from service.delivery.offsets import PartitionOffsets
from service.delivery.skips import SkipSet
from service.errors import UnexpectedOffsetError
from service.events import RecordBatch, SourceRecord


def batch_of(
    offsets: Sequence[int], *, next_offset: int | None = None, epoch: int = 0
) -> RecordBatch:
    end = offsets[-1] + 1 if next_offset is None else next_offset
    records = [SourceRecord(b"", offset=offset) for offset in offsets]
    return RecordBatch("logs", 0, records, next_offset=end, epoch=epoch)


def tracker(position: int = 0, *, skips: SkipSet | None = None) -> PartitionOffsets:
    return PartitionOffsets("logs", 0, epoch=0, position=position, skips=skips)


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(offsets_module)

    assert results.attempted > 0
    assert results.failed == 0


def test_nothing_delivered_leaves_the_start_position() -> None:
    assert tracker(42).next_offset == 42


def test_a_complete_batch_moves_beyond_the_markers_behind_its_last_record() -> None:
    offsets = tracker()
    batch = batch_of([0, 1], next_offset=5)
    offsets.deliver(batch)

    batch.ack_many([0, 1])

    assert offsets.next_offset == 5


def test_a_batch_without_records_moves_the_position() -> None:
    offsets = tracker()

    offsets.deliver(batch_of([], next_offset=7))

    assert offsets.next_offset == 7
    assert offsets.outstanding == 0


def test_a_fetch_that_brought_nothing_changes_nothing() -> None:
    offsets = tracker(7)

    offsets.deliver(batch_of([], next_offset=7))

    assert offsets.next_offset == 7
    assert list(offsets.finished_ranges()) == []


def test_a_later_batch_waits_for_the_first() -> None:
    offsets = tracker()
    first, second = batch_of([0, 1]), batch_of([2, 3])
    offsets.deliver(first)
    offsets.deliver(second)

    second.ack_many([0, 1])

    assert offsets.next_offset == 0
    assert list(offsets.finished_ranges()) == [(2, 4)]


@pytest.mark.parametrize(
    ("batch", "expected_offset"),
    [
        pytest.param(batch_of([9, 11]), 10, id="starts-below"),
        pytest.param(batch_of([10, 11], next_offset=11), 10, id="ends-before-its-last-record"),
        pytest.param(batch_of([], next_offset=9), 10, id="moves-backwards"),
        pytest.param(batch_of([10], epoch=1), 10, id="of-another-epoch"),
        pytest.param(
            RecordBatch("logs", 1, [SourceRecord(b"", offset=10)], next_offset=11),
            10,
            id="of-another-partition",
        ),
        pytest.param(
            RecordBatch("audit", 0, [SourceRecord(b"", offset=10)], next_offset=11),
            10,
            id="of-another-topic",
        ),
    ],
)
def test_a_batch_out_of_place_is_refused_and_changes_nothing(
    batch: RecordBatch, expected_offset: int
) -> None:
    offsets = tracker(10)

    with pytest.raises(UnexpectedOffsetError) as caught:
        offsets.deliver(batch)

    assert caught.value.expected_offset == expected_offset
    assert (offsets.next_offset, offsets.expected_offset, offsets.outstanding) == (10, 10, 0)


def test_the_start_position_is_due_when_nothing_was_ever_committed() -> None:
    offsets = tracker(42)

    assert offsets.commit_due(None)
    assert not offsets.commit_due(42)


def test_progress_is_due_until_it_is_committed() -> None:
    offsets = tracker()
    batch = batch_of([0, 1])
    offsets.deliver(batch)
    batch.ack(0)

    assert offsets.commit_due(0)
    assert not offsets.commit_due(1)


def test_nothing_is_due_after_a_revoke() -> None:
    offsets = tracker()
    batch = batch_of([0])
    offsets.deliver(batch)

    offsets.revoke()
    batch.ack(0)

    assert batch.revoked
    assert not offsets.commit_due(0)
    assert not offsets.commit_due(None)


def test_a_batch_delivered_after_a_revoke_is_born_revoked() -> None:
    offsets = tracker()
    offsets.revoke()
    batch = batch_of([0])

    offsets.deliver(batch)

    assert batch.revoked


def test_the_record_that_holds_the_commit_back_is_named() -> None:
    offsets = tracker()
    batch = batch_of([3, 7, 9])
    offsets.deliver(batch)
    batch.ack(0)

    oldest = offsets.oldest_unfinished

    assert oldest is not None
    assert (oldest.offset, oldest.index) == (7, 1)
    assert oldest.batch is batch


def test_nothing_holds_the_commit_back_when_all_is_done() -> None:
    offsets = tracker()
    batch = batch_of([3])
    offsets.deliver(batch)
    batch.ack(0)

    assert offsets.oldest_unfinished is None


def test_what_an_earlier_owner_finished_is_acknowledged_on_arrival() -> None:
    offsets = tracker(10, skips=SkipSet([(11, 13), (20, 22)]))
    batch = batch_of([10, 11, 12, 13])

    skipped = offsets.deliver(batch)

    assert skipped == 2
    assert list(batch.done) == [0, 1, 1, 0]
    assert list(offsets.finished_ranges()) == [(11, 13), (20, 22)]


def test_a_record_waiting_for_several_effects_holds_the_commit() -> None:
    offsets = tracker()
    batch = batch_of([0])
    offsets.deliver(batch)
    batch.hold(0)

    batch.ack(0)

    assert offsets.next_offset == 0
    batch.ack(0)
    assert offsets.next_offset == 1


def test_compacting_lets_complete_batches_go_and_keeps_what_is_known_of_them() -> None:
    offsets = tracker()
    batches = [batch_of([start, start + 1]) for start in range(0, 20, 2)]
    for batch in batches:
        offsets.deliver(batch)
    for batch in batches[1:]:
        batch.ack_many([0, 1])

    offsets.compact()

    assert [len(batch) for batch in offsets._batches] == [2, 0]
    assert list(offsets.finished_ranges()) == [(2, 20)]
    batches[0].ack_many([0, 1])
    assert offsets.next_offset == 20


@settings(max_examples=4000)
@given(
    gaps=st.lists(st.integers(1, 3), min_size=1, max_size=12),
    cut=st.integers(1, 5),
    order=st.randoms(use_true_random=False),
)
def test_completion_order_never_changes_the_final_commit(
    gaps: list[int], cut: int, order: Random
) -> None:
    positions = [sum(gaps[: index + 1]) for index in range(len(gaps))]
    offsets = tracker()
    batches = [batch_of(positions[at : at + cut]) for at in range(0, len(positions), cut)]
    for batch in batches:
        offsets.deliver(batch)
    work = [(batch, index) for batch in batches for index in range(len(batch))]
    order.shuffle(work)
    unfinished = {batch.records[index].offset for batch, index in work}

    for batch, index in work:
        batch.ack(index)
        unfinished.discard(batch.records[index].offset)
        assert offsets.next_offset == min(unfinished, default=positions[-1] + 1)

    assert offsets.next_offset == positions[-1] + 1
    assert offsets.outstanding == 0


def bits_of(bitmap: bytes, low: int) -> list[int]:
    """The offsets that a bitmap names."""
    return [low + place for place in range(8 * len(bitmap)) if bitmap[place // 8] >> place % 8 & 1]


def test_a_ragged_edge_is_told_as_a_bitmap_and_a_few_ranges_are_not() -> None:
    offsets = tracker(10)
    batch = batch_of(range(10, 90))
    offsets.deliver(batch)
    batch.ack_many(range(40, 80))

    assert offsets.finished_bitmap(1000) is None

    batch.ack_many(range(2, 40, 2))

    bitmap = offsets.finished_bitmap(1000)
    assert bitmap is not None
    assert bits_of(bitmap, 10) == [*range(12, 50, 2), *range(50, 90)]
    assert offsets.finished_bitmap(9) is None


@pytest.mark.parametrize("holes", [range(10, 26, 2), (*range(10, 17), 19)])
def test_offsets_with_holes_have_no_bitmap(holes: Sequence[int]) -> None:
    offsets = tracker(10)
    batch = batch_of(holes)
    offsets.deliver(batch)
    batch.ack_many([1, 3, 5])

    assert offsets.finished_bitmap(1000) is None


class OffsetTrackerMachine(RuleBasedStateMachine):
    """Compares the tracker with the obvious model: sorted sets of offsets."""

    def __init__(self) -> None:
        super().__init__()
        self.restart(position=0, known=set())

    def restart(self, *, position: int, known: set[int]) -> None:
        """A new owner: it starts at the commit, and knows what was finished beyond it."""
        ranges = [(offset, offset + 1) for offset in sorted(known)]
        self.known = known
        self.offsets = tracker(position, skips=SkipSet(ranges))
        self.position = position
        self.end = position
        self.existing: dict[int, tuple[RecordBatch, int]] = {}
        self.unfinished: set[int] = set()
        self.committed = position

    @rule(gaps=st.lists(st.integers(0, 3), max_size=6), markers=st.integers(0, 2))
    def deliver(self, gaps: list[int], markers: int) -> None:
        positions: list[int] = []
        at = self.end
        for gap in gaps:
            at += gap
            positions.append(at)
            at += 1
        batch = batch_of(positions, next_offset=at + markers)

        skipped = self.offsets.deliver(batch)

        self.end = batch.next_offset
        self.existing |= {offset: (batch, index) for index, offset in enumerate(positions)}
        self.unfinished |= set(positions) - self.known
        assert skipped == len(self.known & set(positions))

    @precondition(lambda self: self.unfinished)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        offset = data.draw(st.sampled_from(sorted(self.unfinished)))
        batch, index = self.existing[offset]
        batch.ack(index)
        self.unfinished.discard(offset)
        exact = self.end - min(self.unfinished, default=self.end)
        assert self.offsets.span >= exact  # nobody has looked since
        assert self.offsets.next_offset == self.end - exact
        assert self.offsets.span == exact

    @rule()
    def compact(self) -> None:
        self.offsets.compact()

    @rule()
    def crash_and_resume(self) -> None:
        position = self.offsets.next_offset
        known = {
            offset for start, end in self.offsets.finished_ranges() for offset in range(start, end)
        }
        assert not known & self.unfinished
        self.offsets.revoke()
        self.restart(position=position, known=known)

    @invariant()
    def the_commit_is_never_above_the_lowest_unfinished_record(self) -> None:
        assert self.offsets.next_offset == min(self.unfinished, default=self.end)
        assert self.offsets.next_offset >= self.committed
        self.committed = self.offsets.next_offset

    @invariant()
    def what_is_finished_beyond_is_known(self) -> None:
        finished = {
            offset
            for offset in self.existing
            if offset > self.offsets.next_offset and offset not in self.unfinished
        }
        ranges = list(self.offsets.finished_ranges())
        covered = {offset for start, end in ranges for offset in range(start, end)}

        assert finished <= covered
        assert not covered & self.unfinished
        assert {offset for offset in self.known if offset >= self.end} <= covered
        assert all(left[1] < right[0] for left, right in pairwise(ranges))

    @invariant()
    def the_bitmap_says_the_same(self) -> None:
        bitmap = self.offsets.finished_bitmap(1000)
        if bitmap is None:
            return
        low = self.offsets.next_offset
        covered = set(bits_of(bitmap, low))
        finished = set(self.existing) - self.unfinished
        assert {offset for offset in finished if offset >= low} <= covered
        assert not covered & self.unfinished
        assert max(covered, default=low) < self.end or not covered
        assert not bitmap.endswith(b"\0")

    @invariant()
    def the_counts_agree(self) -> None:
        oldest = self.offsets.oldest_unfinished
        assert self.offsets.outstanding == len(self.unfinished)
        assert (None if oldest is None else oldest.offset) == min(self.unfinished, default=None)


TestOffsetTracker = OffsetTrackerMachine.TestCase
TestOffsetTracker.settings = settings(max_examples=600, stateful_step_count=30)

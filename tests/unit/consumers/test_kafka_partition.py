"""A partition through assignments, revokes and losses, with other owners in between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.consumers.base import CommittedOffset, TopicPartition
from service.consumers.kafka_partition import HeldPartition, Phase
from service.delivery.commit_metadata import Journal, Progress, decode, encode
from service.delivery.quarantine import Quarantine
from service.delivery.suspicion import QuarantinePolicy
from service.events import RecordBatch, SourceRecord

PARTITION = TopicPartition("logs", 0)


def new_held(*, owner: int = 1) -> HeldPartition:
    return HeldPartition(PARTITION, quarantine=Quarantine(QuarantinePolicy(), owner=owner))


def held_at(position: int = 0, committed: CommittedOffset | None = None) -> HeldPartition:
    held = new_held()
    held.assign(0.0)
    held.resume(committed, position)
    return held


def deliver(held: HeldPartition, count: int) -> RecordBatch:
    assert held.offsets is not None
    first = held.offsets.expected_offset
    records = [SourceRecord(b"", offset=first + place) for place in range(count)]
    batch = RecordBatch("logs", 0, records, next_offset=first + count, epoch=held.epoch)
    held.deliver(batch)
    return batch


def ranges_of(offsets: set[int]) -> tuple[tuple[int, int], ...]:
    return tuple((offset, offset + 1) for offset in sorted(offsets))


def test_a_batch_before_the_position_is_known_is_a_mistake() -> None:
    held = new_held()
    held.assign(0.0)

    with pytest.raises(RuntimeError, match="resume"):
        held.deliver(RecordBatch("logs", 0, (), next_offset=1))


def test_what_is_finished_beyond_a_stuck_record_is_committed_although_nothing_moves() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 4)

    batch.ack_many([1, 3])
    due = held.due(1.0)

    assert due is not None
    assert due.next_offset == 0
    assert decode(0, due.metadata).finished == ((1, 2), (3, 4))
    held.confirmed(due, 1.0)
    assert held.due(1.0) is None


def test_in_a_transaction_what_is_finished_beyond_is_listed_however_young_it_is() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 4)
    batch.ack_many([1, 3])

    young = held.due(batch.received_at_s)
    exact = held.due(batch.received_at_s, exact=True)

    assert young is None or decode(0, young.metadata).finished == ()
    assert exact is not None
    assert decode(0, exact.metadata).finished == ((1, 2), (3, 4))


def test_a_partition_that_comes_straight_back_goes_on_where_it_was() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 4)
    batch.ack_many([0, 2])
    due = held.due(1.0)
    assert due is not None
    held.confirmed(due, 1.0)
    held.revoke()
    batch.ack(1)  # was on the wire when the partition went

    held.assign(2.0)
    position = held.resume(due, 0)
    again = deliver(held, 1)

    assert position == 3
    assert [record.offset for record in again.records] == [3]


def test_what_another_owner_finished_is_not_run_again_even_at_the_same_offset() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 4)
    batch.ack(1)
    held.revoke()
    theirs = CommittedOffset(0, encode(0, Progress(finished=((2, 3),), attempts={0: 2})))

    held.assign(2.0)
    held.resume(theirs, 0)
    again = deliver(held, 4)

    assert list(again.done) == [0, 1, 1, 0]
    assert again.attempts == {0: 2}


def test_what_an_earlier_owner_finished_does_not_hide_what_runs_in_another_batch() -> None:
    finished = Progress(finished=((2, 4),))
    held = held_at(committed=CommittedOffset(0, encode(0, finished)))
    running = deliver(held, 2)
    running.dispatched = 1

    waiting = deliver(held, 3)

    assert waiting.left == 1
    assert (waiting.in_flight, held.delivered.in_flight) == (0, 1)


def test_what_an_earlier_owner_finished_is_kept_where_the_delivered_records_end() -> None:
    """Half of its range is delivered again, and everything in that half is durable by now."""
    before = CommittedOffset(0, encode(0, Progress(finished=((1, 10), (12, 14)))))
    held = held_at(committed=before)
    deliver(held, 5).ack(0)

    due = held.due(1.0, exact=True)

    assert due is not None
    assert due.next_offset == 5
    assert decode(*due).finished == ((5, 10), (12, 14))
    successor = held_at(committed=due)
    assert list(deliver(successor, 10).done) == [1, 1, 1, 1, 1, 0, 0, 1, 1, 0]


def test_attempts_survive_a_restart_until_the_record_is_finished() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 3)
    batch.note_attempts(0, 3)
    batch.note_attempts(2, 1)
    batch.ack(2)
    due = held.due(1.0)
    assert due is not None

    restarted = held_at(committed=due)
    before = restarted.due(1.0)
    again = deliver(restarted, 3)

    assert before is None or decode(*before).attempts == {0: 3}
    assert again.attempts == {0: 3}
    assert list(again.done) == [0, 0, 1]
    again.note_attempts(0, 4)
    later = restarted.due(1.2)
    assert later is not None
    assert decode(*later).attempts == {0: 4}
    again.ack_many([0, 1])
    last = restarted.due(1.3)
    assert last is not None
    assert last.next_offset == 3
    assert decode(*last) == Progress(journal=Journal(owner=1, window_end=512))


def test_the_last_commit_tells_the_next_owner_that_it_was_closed_in_order() -> None:
    held = held_at(committed=CommittedOffset(0))
    opened = held.due(1.0)
    assert opened is not None
    held.confirmed(opened, 0.0)
    assert held.due(1.0) is None

    closed = held.due(1.0, leaving=True)

    assert decode(*opened).journal == Journal(owner=1, window_end=512)
    assert closed == CommittedOffset(0, "")


def test_the_partition_of_a_process_that_died_is_under_suspicion() -> None:
    opened = held_at(committed=CommittedOffset(0)).due(1.0)

    successor = new_held(owner=2)
    successor.assign(0.0)
    successor.resume(opened, 0)

    assert successor.suspected
    assert not successor.admit(0, 5)
    due = successor.due(1.0)
    assert due is not None
    assert decode(*due).journal == Journal(owner=2, crashes=1, window_end=5, suspects_end=512)
    successor.confirmed(due, 0.0)
    assert successor.admit(0, 5)


def test_nothing_is_due_after_a_revoke() -> None:
    held = held_at()
    batch = deliver(held, 1)
    held.revoke()

    batch.ack(0)

    assert held.due(1.0) is None


class HeldPartitionMachine(RuleBasedStateMachine):
    """The group's store, the durable outputs, and one other owner, as plain sets."""

    def __init__(self) -> None:
        super().__init__()
        self.held = new_held()
        self.held.assign(0.0)
        self.held.resume(None, 0)
        self.stored: CommittedOffset | None = None
        self.durable: set[int] = set()
        self.in_flight: list[tuple[RecordBatch, int]] = []
        self.delivered_to = 0
        self.due: CommittedOffset | None = None

    def mine(self) -> bool:
        return self.held.phase is Phase.RUNNING

    @precondition(mine)
    @rule(count=st.integers(1, 6))
    def fetch(self, count: int) -> None:
        batch = deliver(self.held, count)
        self.delivered_to = max(self.delivered_to, batch.next_offset)
        for index, record in enumerate(batch.records):
            if not batch.done[index]:
                self.in_flight.append((batch, index))
            else:
                assert record.offset in self.durable

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def become_durable(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(self.in_flight) - 1))
        batch, index = self.in_flight.pop(place)
        self.durable.add(batch.records[index].offset)
        batch.ack(index)

    @rule(stored=st.booleans(), answered=st.booleans())
    def commit(self, *, stored: bool, answered: bool) -> None:
        due = self.held.due(1.0)
        if due is None:
            return
        assert self.mine()
        if stored:
            self.stored = due
            if answered:
                self.held.confirmed(due, 0.0)

    @precondition(mine)
    @rule(dropped=st.booleans())
    def lose_it(self, *, dropped: bool) -> None:
        self.held.revoke()
        if dropped:
            self.in_flight.clear()

    @precondition(lambda self: not self.mine())
    @rule(more=st.sets(st.integers(0, 12)), commits=st.booleans(), closes=st.booleans())
    def another_owner_works(self, more: set[int], *, commits: bool, closes: bool) -> None:
        position = 0 if self.stored is None else self.stored.next_offset
        metadata = "" if self.stored is None else self.stored.metadata
        known = {
            offset
            for start, end in decode(position, metadata).finished
            for offset in range(start, end)
        } | {position + step for step in more}
        self.durable |= {position + step for step in more}
        if commits:
            while position in known:
                position += 1
            beyond = {offset for offset in known if offset > position}
            journal = None if closes else Journal(owner=9, window_end=512)
            progress = Progress(finished=ranges_of(beyond), journal=journal)
            self.stored = CommittedOffset(position, encode(position, progress))

    @precondition(lambda self: not self.mine())
    @rule()
    def come_back(self) -> None:
        self.held.assign(0.0)
        position = self.held.resume(self.stored, 0)
        assert set(range(position)) <= self.durable

    @invariant()
    def the_commit_never_passes_a_record_that_is_not_durable(self) -> None:
        if self.stored is None:
            return
        assert set(range(self.stored.next_offset)) <= self.durable
        for start, end in decode(*self.stored).finished:
            assert set(range(start, end)) <= self.durable

    @invariant()
    def nothing_is_due_while_it_is_not_ours(self) -> None:
        if not self.mine():
            assert self.held.due(1.0) is None


TestHeldPartition = HeldPartitionMachine.TestCase
TestHeldPartition.settings = settings(max_examples=600, stateful_step_count=30)


class HandoverMachine(RuleBasedStateMachine):
    """Exactly-once: results and position become visible together, or neither ever does.

    What its owner finished is lost with it unless a commit lists it; what a commit made visible
    must never be run again, by whoever comes next.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owners = 0
        self.stored: CommittedOffset | None = None
        self.visible: set[int] = set()
        self.take_over(crashed=False)

    @rule(count=st.integers(1, 9))
    def fetch(self, count: int) -> None:
        batch = deliver(self.held, count)
        for index, record in enumerate(batch.records):
            if not batch.done[index]:
                assert record.offset not in self.visible
                self.running.append((batch, index))

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        batch, index = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        batch.ack(index)
        self.queued.add(batch.records[index].offset)

    @precondition(lambda self: self.running)
    @rule()
    def finish_all(self) -> None:
        while self.running:
            batch, index = self.running.pop(0)
            batch.ack(index)
            self.queued.add(batch.records[index].offset)

    @rule(answered=st.booleans(), leaving=st.booleans())
    def commit(self, *, answered: bool, leaving: bool) -> None:
        due = self.held.due(1.0, exact=True, leaving=leaving)
        if due is not None:
            self.stored = due
        self.visible |= self.queued
        self.queued.clear()
        if not answered:
            self.take_over(crashed=True)
        elif leaving:
            self.take_over(crashed=False)
        elif due is not None:
            self.held.confirmed(due, 1.0)

    @rule(crashed=st.booleans())
    def take_over(self, *, crashed: bool) -> None:
        """By a new process, or by the same one, which believes nothing of what it knew."""
        self.running: list[tuple[RecordBatch, int]] = []
        self.queued: set[int] = set()
        if crashed or not self.owners:
            self.owners += 1
            self.held = new_held(owner=self.owners)
        else:
            self.held.revoke()
            self.held.forget()
        self.held.assign(1.0)
        self.held.resume(self.stored, 0)

    @invariant()
    def a_commit_tells_the_next_owner_of_everything_visible(self) -> None:
        position, metadata = (0, "") if self.stored is None else self.stored
        known = set(range(position))
        for start, end in decode(position, metadata).finished:
            known.update(range(start, end))
        assert known == self.visible


TestHandover = HandoverMachine.TestCase
TestHandover.settings = settings(max_examples=300, stateful_step_count=30)


class Group:
    """What is stored for the partition; every owner goes by it."""

    def __init__(self) -> None:
        self.stored: CommittedOffset | None = None
        self.now_s = 0.0

    def open(self, held: HeldPartition) -> None:
        held.assign(self.now_s)
        held.resume(self.stored, 0)

    def commit(self, held: HeldPartition, *, leaving: bool = False, answered: bool = True) -> None:
        self.now_s += 1.0
        due = held.due(self.now_s, leaving=leaving)
        if due is not None:
            self.stored = due
            if answered:
                held.confirmed(due, self.now_s)

    def dispatch(self, held: HeldPartition, count: int) -> RecordBatch:
        """As the source does: nothing runs before a commit has said so."""
        assert held.offsets is not None
        first = held.offsets.expected_offset
        for _ in range(3):
            if held.admit(first, first + count):
                return deliver(held, count)
            self.commit(held)
        raise AssertionError("not admitted")


class Others:
    """Processes that own the partition one after the other."""

    def __init__(self, group: Group) -> None:
        self.worked = False
        self._group = group
        self._number = 2
        self._held: HeldPartition | None = None

    def do(self, step: str, count: int) -> None:
        held = self._held
        if held is None:
            if step == "open":
                self._held = new_held(owner=self._number)
                self._group.open(self._held)
        elif step in {"commit", "unanswered"}:
            self._group.commit(held, answered=step == "commit")
        elif step == "dispatch":
            self._group.dispatch(held, count)
            self.worked = True
        elif step == "finish":
            for batch in held.delivered.live:
                batch.ack_many(range(len(batch)))
        else:
            self._end(held, leaving=step == "leave")

    def _end(self, held: HeldPartition, *, leaving: bool) -> None:
        if leaving:
            self._group.commit(held, leaving=True)
        held.revoke()
        self._held = None
        self._number += 1


_OTHERS = st.lists(
    st.tuples(
        st.sampled_from(
            ["open", "commit", "unanswered", "dispatch", "finish", "leave", "die", "open"]
        ),
        st.integers(1, 600),
    ),
    max_size=12,
)


@settings(max_examples=500)
@given(before=st.lists(st.integers(1, 300), min_size=1, max_size=4), others=_OTHERS)
def test_a_partition_that_was_lost_is_untouched_only_if_nobody_else_dispatched(
    before: list[int], others: list[tuple[str, int]]
) -> None:
    group = Group()
    ours = new_held(owner=1)
    group.open(ours)
    for count in before:
        batch = group.dispatch(ours, count)
        batch.ack_many(range(count // 2))
    ours.suspend()
    stored = group.stored
    elsewhere = Others(group)
    for do, count in others:
        elsewhere.do(do, count)

    ours.assign(group.now_s)

    assert ours.suspended
    assert not (ours.untouched(group.stored) and elsewhere.worked)
    assert ours.untouched(group.stored) or group.stored != stored


def test_what_is_in_hand_of_a_lost_partition_counts_when_it_is_reinstated() -> None:
    group = Group()
    held = new_held()
    group.open(held)
    batch = group.dispatch(held, 4)
    batch.dispatched = 2  # two of them had begun
    batch.ack(0)
    held.suspend()

    held.assign(1.0)
    waiting = held.delivered.settled
    held.reinstate()
    batch.ack(1)
    settled = held.delivered.settled
    left = held.abandon()
    held.resume(group.stored, 0)

    assert (waiting, settled, held.suspended) == (False, True, False)
    assert left == [batch]
    assert batch.revoked
    assert held.expected_offset == 2


def test_what_is_in_hand_of_a_partition_that_somebody_else_has_is_dropped() -> None:
    held = held_at(committed=CommittedOffset(0))
    batch = deliver(held, 4)
    batch.dispatched = 1
    held.suspend()

    held.abandon()

    assert batch.revoked
    assert not held.suspended
    assert not held.delivered.settled  # its call still runs
    batch.dispatched -= 1
    assert held.delivered.settled

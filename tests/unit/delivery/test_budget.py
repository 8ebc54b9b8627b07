"""Memory is bounded, nobody starves, and nothing flaps."""

import doctest

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.delivery import budget as budget_module
from service.delivery.budget import NO_ROOM, MemoryBudget


def budget_for(*partitions: str, records: int = 100, size_bytes: int = 10_000) -> MemoryBudget[str]:
    budget = MemoryBudget[str](max_records=records, max_bytes=size_bytes)
    budget.assign(partitions)
    return budget


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(budget_module)

    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(("records", "size_bytes"), [(0, 1), (1, 0)], ids=["records", "bytes"])
def test_an_empty_budget_is_refused(records: int, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        MemoryBudget[str](max_records=records, max_bytes=size_bytes)


def test_a_partition_that_is_not_assigned_has_no_room() -> None:
    assert budget_for("a").room_for("b") == NO_ROOM


def test_a_stuck_partition_leaves_the_others_their_share() -> None:
    budget = budget_for("stuck", "b", "c", "d")
    while room := budget.room_for("stuck").records:
        budget.take("stuck", records=room, size_bytes=room)

    assert budget._records.used < 50
    assert all(budget.room_for(partition).records >= 100 // 8 for partition in "bcd")


def test_all_but_one_stuck_leave_the_last_its_share() -> None:
    names = [f"p{number}" for number in range(10)]
    budget = budget_for(*names)
    for name in names[1:]:
        while room := budget.room_for(name).records:
            budget.take(name, records=room, size_bytes=room)

    assert budget.room_for("p0").records >= 5


def test_a_lone_partition_may_hold_most_of_the_budget() -> None:
    budget = budget_for("a")

    assert budget.room_for("a").records == 75


def test_the_scarcer_resource_closes() -> None:
    budget = budget_for("a", "b", records=1000, size_bytes=100)

    budget.take("a", records=1, size_bytes=60)

    assert budget.room_for("a") == NO_ROOM
    assert budget.room_for("b") != NO_ROOM


def test_a_record_larger_than_the_budget_is_taken_and_then_nothing_more() -> None:
    budget = budget_for("a", "b", size_bytes=1000)

    budget.take("a", records=1, size_bytes=5000)

    assert budget.room_for("a") == NO_ROOM
    assert budget.room_for("b") == NO_ROOM
    budget.give_back("a", records=1, size_bytes=5000)
    assert budget.room_for("a") != NO_ROOM


def test_a_closed_partition_opens_only_when_a_quarter_of_its_share_is_free() -> None:
    budget = budget_for("a", "b")
    while room := budget.room_for("a").records:
        budget.take("a", records=room, size_bytes=room)
    opened_after = 0

    while budget.room_for("a") == NO_ROOM:
        budget.give_back("a", records=1, size_bytes=1)
        opened_after += 1

    assert opened_after > 6  # its share is 25


def test_a_closed_partition_that_holds_nothing_opens() -> None:
    budget = budget_for(*"abcdefgh", records=2)
    budget.take("a", records=1, size_bytes=1)
    budget.take("b", records=1, size_bytes=1)
    assert budget.room_for("c") == NO_ROOM

    budget.give_back("a", records=1, size_bytes=1)

    assert budget.room_for("c").records == 1


def test_more_than_was_taken_cannot_be_given_back() -> None:
    budget = budget_for("a")
    budget.take("a", records=1, size_bytes=10)

    with pytest.raises(ValueError, match="more than it took"):
        budget.give_back("a", records=1, size_bytes=11)

    assert (budget._records.used, budget._bytes.used) == (1, 10)


def test_what_a_departed_partition_holds_still_counts() -> None:
    budget = budget_for("a")
    budget.take("a", records=75, size_bytes=75)

    budget.assign({"b"})

    assert budget.room_for("b").records == 25
    budget.give_back("a", records=75, size_bytes=75)
    assert budget.room_for("b").records == 75


class MemoryBudgetMachine(RuleBasedStateMachine):
    """Compares the budget with plain sums over what each partition holds."""

    names = st.sampled_from("abcdef")

    def __init__(self) -> None:
        super().__init__()
        self.max_records = 40
        self.max_bytes = 400
        self.budget = MemoryBudget[str](max_records=self.max_records, max_bytes=self.max_bytes)
        self.assigned: set[str] = set()
        self.shared_when_empty = True
        self.held: dict[str, list[tuple[int, int]]] = {}

    @rule(partitions=st.sets(names))
    def rebalance(self, partitions: set[str]) -> None:
        self.budget.assign(partitions)
        self.assigned = partitions
        self.shared_when_empty = not any(self.held.values())

    @rule(name=names, share=st.floats(0, 1), record_bytes=st.integers(0, 30))
    def fetch(self, name: str, share: float, record_bytes: int) -> None:
        room = self.budget.room_for(name)
        assert (room.records == 0) == (room.size_bytes == 0)
        if room == NO_ROOM:
            return
        assert name in self.assigned
        records = max(1, int(room.records * share))
        size_bytes = min(records * record_bytes, room.size_bytes)
        self.budget.take(name, records=records, size_bytes=size_bytes)
        self.held.setdefault(name, []).append((records, size_bytes))

    @rule(name=names)
    def finish(self, name: str) -> None:
        if self.held.get(name):
            records, size_bytes = self.held[name].pop()
            self.budget.give_back(name, records=records, size_bytes=size_bytes)

    @invariant()
    def the_sums_agree_and_are_bounded(self) -> None:
        held = [pair for pairs in self.held.values() for pair in pairs]
        assert self.budget._records.used == sum(records for records, _ in held)
        assert self.budget._bytes.used == sum(size_bytes for _, size_bytes in held)
        assert self.budget._records.used <= self.max_records
        assert self.budget._bytes.used <= self.max_bytes

    @rule(name=names)
    def ask(self, name: str) -> None:
        assert self.budget.has_room(name) == (self.budget.room_for(name) != NO_ROOM)

    @invariant()
    def a_partition_that_holds_nothing_has_its_share(self) -> None:
        """Or what is left, where a rebalance found memory in use under the old shares."""
        spare_records = self.max_records - self.budget._records.used
        spare_bytes = self.max_bytes - self.budget._bytes.used
        for name in self.assigned:
            if self.held.get(name):
                continue
            records = self.max_records // (2 * len(self.assigned))
            size_bytes = self.max_bytes // (2 * len(self.assigned))
            room = self.budget.room_for(name)
            if self.shared_when_empty:
                assert room.records >= records
                assert room.size_bytes >= size_bytes
            elif spare_records and spare_bytes:
                assert room.records >= min(records, spare_records)
                assert room.size_bytes >= min(size_bytes, spare_bytes)


TestMemoryBudget = MemoryBudgetMachine.TestCase
TestMemoryBudget.settings = settings(max_examples=500, stateful_step_count=30)

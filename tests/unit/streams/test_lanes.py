from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    precondition,
    rule,
)

from service.streams.lanes import Lanes


def test_a_lane_admits_one_and_queues_the_others_in_order() -> None:
    lanes = Lanes[str]()

    admitted = [lanes.submit("k", name) for name in "abc"]

    assert admitted == [True, False, False]
    assert lanes.finish("k") == ("b",)
    assert lanes.finish("k") == ("c",)
    assert lanes.finish("k") is None


def test_lanes_do_not_hold_each_other_up() -> None:
    lanes = Lanes[str]()

    lanes.submit("k", "a")

    assert lanes.submit("other", "b")


def test_an_idle_lane_costs_nothing() -> None:
    lanes = Lanes[int]()

    for key in range(1000):
        lanes.submit(key, key)
        lanes.finish(key)

    assert not any(key in lanes for key in range(1000))
    assert len(lanes._busy) == 0


def test_a_lane_that_nobody_waits_for_any_more_has_no_queue() -> None:
    lanes = Lanes[str]()
    lanes.submit("k", "a")
    lanes.submit("k", "b")

    lanes.finish("k")

    assert lanes._busy == {"k": None}


def test_finishing_an_empty_lane_is_an_error() -> None:
    with pytest.raises(KeyError):
        Lanes[int]().finish("k")


def test_a_none_item_is_an_item() -> None:
    lanes = Lanes[None]()
    lanes.submit("k", None)
    lanes.submit("k", None)

    assert lanes.finish("k") == (None,)


def test_clear_gives_back_what_waited_and_frees_the_lanes() -> None:
    lanes = Lanes[str]()
    for name in ("a1", "a2", "b1", "a3"):
        lanes.submit(name[0], name)

    assert list(lanes.clear()) == ["a2", "a3"]
    assert len(lanes) == 0
    assert lanes.submit("a", "a4")


class LanesMachine(RuleBasedStateMachine):
    """Compares the lanes with the obvious model: one list per key, its head in the lane."""

    running = Bundle("running")

    def __init__(self) -> None:
        super().__init__()
        self.lanes = Lanes[int]()
        self.model: dict[str, deque[int]] = {}
        self.next_item = 0

    @rule(target=running, key=st.sampled_from("abc"))
    def submit(self, key: str) -> object:
        item, self.next_item = self.next_item, self.next_item + 1
        queue = self.model.setdefault(key, deque())
        queue.append(item)
        admitted = self.lanes.submit(key, item)
        assert admitted == (len(queue) == 1)
        return (key, item) if admitted else multiple()

    @rule(target=running, ran=consumes(running))
    def finish(self, ran: tuple[str, int]) -> object:
        key, item = ran
        queue = self.model[key]
        assert queue.popleft() == item
        following = self.lanes.finish(key)
        assert following == ((queue[0],) if queue else None)
        return (key, queue[0]) if queue else multiple()

    @precondition(lambda self: not any(self.model.values()))
    @rule()
    def is_empty(self) -> None:
        assert list(self.lanes.clear()) == []

    @invariant()
    def counts_what_waits(self) -> None:
        assert len(self.lanes) == sum(max(len(queue) - 1, 0) for queue in self.model.values())

    @invariant()
    def is_busy_exactly_where_something_is_in_the_lane(self) -> None:
        for key in "abc":
            assert (key in self.lanes) == bool(self.model.get(key))


TestLanesAgainstTheModel = LanesMachine.TestCase
TestLanesAgainstTheModel.settings = settings(max_examples=500)

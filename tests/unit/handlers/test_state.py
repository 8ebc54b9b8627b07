from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.errors import StateTypeError
from service.handlers.state import MemoryState, MemoryStateStore
from service.state.keyed import Partition

_HERE = Partition("topic", 0)
_THERE = Partition("topic", 1)


def test_what_was_put_is_got_until_it_is_deleted() -> None:
    state = MemoryState(lambda: 0.0)

    state.put(_HERE, "a", {"n": 1})

    assert state.get(_HERE, "a") == {"n": 1}
    state.delete(_HERE, "a")
    assert state.get(_HERE, "a") is None
    state.delete(_HERE, "a")


def test_a_key_that_no_durable_state_takes_is_refused_here_too() -> None:
    state = MemoryState(lambda: 0.0)
    key: Any = 17

    with pytest.raises(StateTypeError, match="is text, not int"):
        state.put(_HERE, key, 1)

    state.put(_HERE, "é", 1)
    assert list(state.items(_HERE)) == [("é", 1)]
    assert not state.undecided(_HERE, "é")


def test_partitions_do_not_see_each_other() -> None:
    state = MemoryState(lambda: 0.0)

    state.put(_HERE, "a", 1)
    state.put(_THERE, "a", 2)

    assert (state.get(_HERE, "a"), state.get(_THERE, "a")) == (1, 2)
    assert state.partitions() == [_HERE, _THERE]
    assert list(state.items(_THERE)) == [("a", 2)]


def test_a_forgotten_partition_leaves_the_others_alone() -> None:
    store = MemoryStateStore(lambda: 0.0)
    state = store.keyed("state", ttl_s=1.0, max_keys=10)
    state.put(_HERE, "a", 1)
    state.put(_THERE, "a", 2)

    store.forget("topic", 0)

    assert state.get(_HERE, "a") is None
    assert state.get(_THERE, "a") == 2


def test_the_same_name_is_the_same_state_and_another_is_not() -> None:
    store = MemoryStateStore(lambda: 0.0)

    first = store.keyed("one", ttl_s=None, max_keys=10)

    assert store.keyed("one", ttl_s=None, max_keys=10) is first
    assert store.keyed("two", ttl_s=None, max_keys=10) is not first


def test_the_key_put_longest_ago_leaves_first_when_there_are_too_many() -> None:
    state = MemoryState(lambda: 0.0, max_keys=2)
    state.put(_HERE, "a", 1)
    state.put(_HERE, "b", 2)
    state.put(_HERE, "a", 3)

    state.put(_HERE, "c", 4)

    assert dict(state.items(_HERE)) == {"a": 3, "c": 4}
    assert state.evicted == 1


class TimeToLive(RuleBasedStateMachine):
    """Compares the state with the obvious model: a dictionary with the time of each put."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.state = MemoryState(lambda: self.now_s, ttl_s=10.0)
        self.model: dict[str, tuple[int, float]] = {}

    @rule(key=st.sampled_from("abcd"), value=st.integers())
    def put(self, key: str, value: int) -> None:
        self.state.put(_HERE, key, value)
        self.model[key] = (value, self.now_s)

    @rule(key=st.sampled_from("abcd"))
    def delete(self, key: str) -> None:
        self.state.delete(_HERE, key)
        self.model.pop(key, None)

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.0, 10.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def agree(self) -> None:
        alive = {k: v for k, (v, at_s) in self.model.items() if self.now_s - at_s < 10.0}
        assert {key: self.state.get(_HERE, key) for key in alive} == alive
        assert dict(self.state.items(_HERE)) == alive


test_time_to_live_agrees_with_the_model = TimeToLive.TestCase


def test_what_connections_that_are_gone_have_left_expires_with_the_next_ones() -> None:
    now_s = 0.0
    state = MemoryState(lambda: now_s, ttl_s=100.0)
    for connection in range(1_000):
        state.put(Partition("socket", connection), "a", 1)
        now_s += 1.0

    assert len(state._partitions) <= 106  # a time to live, and a twentieth of it
    assert state._partitions.keys() == state._put_at_s.keys()
    state.delete(Partition("socket", 999), "a")
    assert ("socket", 999) not in state._partitions

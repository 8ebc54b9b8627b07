import json  # noqa: TID251 -- the judge of ours
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.errors import StateTypeError
from service.events import Event, RecordBatch, SourceRecord
from service.state.keyed import Codec, Partition
from service.state.store import LoggedState, LoggedStore

_HERE = Partition("topic", 0)


def opened(store: LoggedStore, name: str = "state") -> LoggedState:
    state = store.keyed(name, ttl_s=None, max_keys=100)
    store.open(name, _HERE, store.reopen(name, _HERE))
    return state


def event(offset: int) -> Event:
    batch = RecordBatch("topic", 0, [SourceRecord(None, offset=offset)], next_offset=offset + 1)
    return Event(None, batch=batch)


def test_changes_count_once_they_are_settled() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)

    state.put(_HERE, "a", 1)
    assert not state.tables[_HERE].dirty
    store.settle()

    assert list(state.tables[_HERE].dirty) == ["a"]
    assert not store.changes


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        (17, r"is text, not int: use str\(\)"),
        (None, "is text, not NoneType"),
        (b"a", "is text, not bytes"),
        ("\ud800", "half a character"),
    ],
    ids=["number", "none", "bytes", "half a character"],
)
def test_what_cannot_be_the_key_of_a_record_is_refused_at_once(key: Any, problem: str) -> None:
    state = opened(LoggedStore(lambda: 0.0))

    with pytest.raises(StateTypeError, match=problem):
        state.put(_HERE, key, 1)
    with pytest.raises(StateTypeError, match=problem):
        state.put_many(_HERE, {"a": 1, key: 2})

    assert list(state.items(_HERE)) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "within",
    [lambda n: n, lambda n: {"a": 1.5, "b": n}, lambda n: [{"a": ("x", [n])}]],
    ids=["itself", "in a mapping", "deep"],
)
def test_a_number_that_json_does_not_have_is_refused_at_once(
    within: Callable[[float], Any], number: float
) -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)

    with pytest.raises(StateTypeError, match=r"not finite \(NaN or Infinity\)"):
        state.put(_HERE, "a", within(number))
    with pytest.raises(StateTypeError, match=r"not finite \(NaN or Infinity\)"):
        state.put_many(_HERE, {"b": 2, "a": within(number)})

    assert dict(state.items(_HERE)) == {"a": 1}


def test_a_codec_says_itself_what_becomes_of_any_number() -> None:
    state = LoggedStore(lambda: 0.0).keyed(
        "state", ttl_s=None, max_keys=100, codec=Codec(repr, float)
    )

    state.put(_HERE, "a", float("inf"))
    state.put_many(_HERE, {"b": float("-inf")})

    assert dict(state.items(_HERE)) == {"a": float("inf"), "b": float("-inf")}


@given(st.recursive(st.none() | st.text() | st.integers() | st.floats(),
                    lambda more: st.lists(more) | st.dictionaries(st.text(), more)))  # fmt: skip
def test_what_is_refused_is_what_strict_json_does_not_have(value: Any) -> None:
    state = opened(LoggedStore(lambda: 0.0))

    try:
        state.put(_HERE, "a", value)
    except StateTypeError:
        assert not _strict(value)
    else:
        assert _strict(value)


def _strict(value: Any) -> bool:
    """Whether the standard library makes JSON of it, without a number that JSON does not have."""
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def test_any_text_is_a_key() -> None:
    state = opened(LoggedStore(lambda: 0.0))

    state.put(_HERE, "é", 1)
    state.put_many(_HERE, {"日本": 2, "": 3})

    assert dict(state.items(_HERE)) == {"é": 1, "日本": 2, "": 3}


def test_what_a_call_that_goes_on_has_changed_is_undecided() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    under_way = event(1)
    state.put(under_way, "a", 1)
    state.put(_HERE, "timer", 1)

    assert [state.undecided(_HERE, key) for key in ("a", "b", "timer")] == [True, False, False]
    assert not state.undecided(Partition("topic", 1), "a")
    store.settle_for(under_way)
    assert not state.undecided(_HERE, "a")


def test_events_under_way_at_once_are_settled_and_undone_apart() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    first, second = event(1), event(2)
    state.put(first, "a", 1)
    state.put(second, "b", 2)
    state.put(first, "c", 3)

    store.undo_for(first)
    settled = store.settle_for(second)

    assert settled
    assert not store.settle_for(first)
    assert dict(state.items(_HERE)) == {"b": 2}
    assert list(state.tables[_HERE].dirty) == ["b"]


def test_what_has_changed_for_a_partition_counts_with_the_next_event_of_it() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)
    state.put(Partition("topic", 1), "b", 2)

    settled = store.settle_for(event(1))

    assert settled
    assert list(state.tables[_HERE].dirty) == ["a"]
    assert [place for place, *_ in store.changes] == [Partition("topic", 1)]


def test_a_typed_copy_of_an_event_is_the_event() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    original = event(1)
    state.put(Event("typed", batch=original.batch, index=original.index), "a", 1)

    assert store.settle_for(original)


def test_a_partition_that_was_never_opened_is_remembered_but_not_logged() -> None:
    store = LoggedStore(lambda: 0.0)
    state = store.keyed("state", ttl_s=None, max_keys=100)

    state.put(_HERE, "a", 1)
    store.settle()

    assert state.get(_HERE, "a") == 1
    assert not state.tables[_HERE].dirty


def test_a_released_partition_is_invisible_and_comes_back_if_its_changelog_has_all() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)
    store.settle()
    state.tables[_HERE].take_dirty()

    store.release(_HERE)
    assert state.get(_HERE, "a") is None
    table = store.reopen("state", _HERE)

    assert table.values == {"a": 1}


def test_a_released_partition_with_changes_that_nobody_wrote_is_not_trusted() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)
    store.settle()

    store.release(_HERE)

    assert store.reopen("state", _HERE).values == {}


def test_a_forgotten_partition_leaves_nothing() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)
    store.settle()

    store.forget(*_HERE)

    assert state.partitions() == []
    assert store.keys() == 0


def test_a_codec_stands_between_values_and_json() -> None:
    store = LoggedStore(lambda: 0.0)
    codec = Codec(encode=sorted, decode=set)
    state = store.keyed("state", ttl_s=None, max_keys=1, codec=codec)
    table = store.reopen("state", _HERE)
    table.load({"a": (b"[1,2]", 0.0)})
    store.open("state", _HERE, table)

    assert state.get(_HERE, "a") == {1, 2}


class UndoMachine(RuleBasedStateMachine):
    """Whatever attempts do before they fail, only what succeeded is remembered."""

    def __init__(self) -> None:
        super().__init__()
        self.store = LoggedStore(lambda: 0.0)
        self.state = opened(self.store)
        self.sure: dict[str, int] = {}
        self.attempt: dict[str, int] = {}

    @rule(key=st.sampled_from("abc"), value=st.integers())
    def put(self, key: str, value: int) -> None:
        self.state.put(_HERE, key, value)
        self.attempt[key] = value

    @rule(key=st.sampled_from("abc"))
    def delete(self, key: str) -> None:
        self.state.delete(_HERE, key)
        self.attempt.pop(key, None)

    @rule()
    def succeed(self) -> None:
        self.store.settle()
        self.sure = dict(self.attempt)

    @rule()
    def fail(self) -> None:
        self.store.undo()
        self.attempt = dict(self.sure)

    @invariant()
    def agree(self) -> None:
        assert dict(self.state.items(_HERE)) == self.attempt


test_undoing_agrees_with_copies = UndoMachine.TestCase


def test_what_goes_on_is_told_from_what_counts_unless_a_value_was_changed_in_place() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    table = state.tables[_HERE]
    state.put(_HERE, "a", 1)
    state.put(_HERE, "b", [1])
    store.settle()
    first, second = event(1), event(2)
    state.put(first, "a", 2)
    state.put(first, "a", 1)
    state.put(second, "b", [1, 2])
    state.put(second, "c", 3)

    assert store.separable
    assert store.undecided(table) == {"a": 1, "b": [1], "c": None}

    store.settle_for(second)
    assert store.undecided(table) == {"a": 1}
    state.get(second, "b").append(3)
    state.put(second, "b", state.get(second, "b"))
    assert not store.separable


@pytest.mark.parametrize("happens", ["settle_for", "undo_for"])
def test_what_counts_on_top_of_what_goes_on_is_not_told_from_it(happens: str) -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    table = state.tables[_HERE]

    def separable() -> bool:  # asked anew, whatever it was
        return store.separable

    first, second, third = event(1), event(2), event(3)
    state.put(first, "a", 1)
    state.put(first, "b", 1)
    state.put(second, "a", 2)
    state.put(third, "b", 2)
    state.put(third, "c", 1)

    assert separable()  # nothing counts yet
    store.undo_for(third)
    assert separable()
    store.settle_for(second)
    assert not separable()
    getattr(store, happens)(first)
    assert separable()
    assert store.undecided(table) == {}


def test_what_goes_on_on_top_of_what_counts_is_told_from_it() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    first, second = event(1), event(2)
    state.put(first, "a", 1)
    state.put(second, "a", 2)

    store.settle_for(first)

    assert store.separable
    assert store.undecided(state.tables[_HERE]) == {"a": 1}


def test_a_table_that_a_call_has_changed_which_goes_on_is_not_opened_again() -> None:
    store = LoggedStore(lambda: 0.0)
    state = opened(store)
    state.put(_HERE, "a", 1)
    store.settle()
    state.tables[_HERE].take_dirty()
    state.put(event(1), "a", 2)

    store.release(_HERE)

    assert dict(store.reopen("state", _HERE).items()) == {}


def test_a_connection_of_which_nothing_is_remembered_leaves_nothing() -> None:
    now_s = 0.0
    store = LoggedStore(lambda: now_s)
    state = opened(store)
    lasting, expiring = state, store.keyed("short", ttl_s=10, max_keys=100)
    first, second, undecided = (Partition("clients", number) for number in (1, 2, 3))
    expiring.put(first, "a", 1)
    lasting.put(second, "a", 1)
    lasting.put(undecided, "a", 1)
    store.settle()
    lasting.delete(second, "a")
    store.settle()
    lasting.delete(undecided, "a")

    now_s = 20.0
    store.sweep()
    store.undo()

    assert expiring.tables == {}
    assert set(lasting.tables) == {_HERE, undecided}
    assert lasting.get(undecided, "a") == 1

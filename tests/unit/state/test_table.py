import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.state.table import Table


class TableMachine(RuleBasedStateMachine):
    """Compares a table with the obvious model, and its dirty keys with what has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.table = self.make()
        self.table.logged = True
        self.model: dict[str, tuple[int, float]] = {}
        self.looks = False

    def make(self) -> Table:
        return Table(lambda: self.now_s, ttl_s=10.0, max_keys=5)

    def _alive(self) -> dict[str, int]:
        return {k: v for k, (v, at_s) in self.model.items() if self.now_s - at_s < 10.0}

    @rule(key=st.sampled_from("abcdefg"), value=st.integers(0, 9))
    def put(self, key: str, value: int) -> None:
        before = self._alive().get(key)
        assert self.table.put(key, value) == before
        self.model = {k: at for k, at in self.model.items() if k in self._alive() and k != key}
        self.model[key] = (value, self.now_s)
        while len(self.model) > 5:
            del self.model[next(iter(self.model))]
        self.table.sweep()

    @rule(values=st.dictionaries(st.sampled_from("abcd"), st.integers(0, 9), max_size=4))
    def put_many(self, values: dict[str, int]) -> None:
        before = self.table.put_many(values)
        for (key, value), expected in zip(values.items(), before, strict=True):
            assert self._alive().get(key) == expected
            self.model = {k: at for k, at in self.model.items() if k in self._alive() and k != key}
            self.model[key] = (value, self.now_s)
            while len(self.model) > 5:
                del self.model[next(iter(self.model))]
        self.table.sweep()

    @rule(
        changes=st.dictionaries(
            st.sampled_from("abcd"), st.none() | st.integers(0, 9), min_size=1, max_size=4
        )
    )
    def load(self, changes: dict[str, int | None]) -> None:
        self.table.load({k: (None if v is None else b"%d" % v, 0.0) for k, v in changes.items()})
        self.table.keep_bounds()
        for key, value in changes.items():
            self.model = {k: at for k, at in self.model.items() if k in self._alive() and k != key}
            if value is not None:
                self.model[key] = (value, self.now_s)
        while len(self.model) > 5:
            del self.model[next(iter(self.model))]
        self.table.sweep()

    @rule(readable=st.booleans())
    def survey(self, *, readable: bool) -> None:
        def stored(encoded: bytes) -> int:
            if not readable:
                raise ValueError
            return int(encoded) + 100

        known = self.table.survey(lambda value: value + 100, stored)
        assert dict(known) == {key: value + 100 for key, value in self._alive().items()}

    @rule(key=st.sampled_from("abcdefg"))
    def get(self, key: str) -> None:
        assert self.table.get(key) == self._alive().get(key)

    @rule(key=st.sampled_from("abcdefg"))
    def delete(self, key: str) -> None:
        assert self.table.delete(key) == self._alive().get(key)
        self.model.pop(key, None)

    @rule(seconds=st.sampled_from([0.5, 4.0, 9.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.table.sweep()

    @invariant()
    def agree(self) -> None:
        alive = self._alive()
        assert len(self.table) == len(alive)
        if not self.looks:
            return
        assert {key: self.table.reader()(key) for key in alive} == alive
        assert {key: self.table.get(key) for key in alive} == alive
        assert dict(zip(alive, self.table.peek_many(alive), strict=True)) == alive
        assert dict(self.table.items()) == alive

    @rule(looks=st.booleans())
    def look(self, *, looks: bool) -> None:
        """Whether the values are looked at between the steps: nothing may depend on it."""
        self.looks = looks


test_a_table_agrees_with_the_model = TableMachine.TestCase


def test_a_key_is_gone_at_the_end_of_its_time_although_nobody_has_swept() -> None:
    now_s = [0.0]
    table = Table(lambda: now_s[0], ttl_s=10.0, max_keys=10)
    table.put("a", 1)

    now_s[0] = 10.0

    assert table.get("a") is None


def test_what_expires_or_leaves_is_dirty_so_that_the_changelog_hears_of_it() -> None:
    now_s = [0.0]
    table = Table(lambda: now_s[0], ttl_s=10.0, max_keys=2)
    table.logged = True
    for key in "abc":
        table.put(key, 1)

    assert list(table.take_dirty()) == ["a"]
    now_s[0] = 20.0

    assert table.sweep() == 2
    assert list(table.take_dirty()) == ["b", "c"]
    assert table.evicted == 1


def test_the_age_of_a_restored_key_counts() -> None:
    table = Table(lambda: 100.0, ttl_s=10.0, max_keys=10)

    table.load({"young": (b"1", 9.0), "old": (b"1", 11.0)})

    assert table.get("young") == 1
    assert table.get("old") is None


def test_many_one_shot_keys_leave_an_empty_table_in_linear_time() -> None:
    now_s = [0.0]
    table = Table(lambda: now_s[0], ttl_s=1.0, max_keys=10_000)

    for number in range(100_000):
        now_s[0] += 0.0001
        table.put(f"k{number}", number)
    now_s[0] += 1.0
    table.sweep()

    assert table.values == {}
    assert table._put_at_s == {}


def test_a_run_of_more_keys_than_there_may_be_leaves_no_more_than_there_may_be() -> None:
    table = Table(lambda: 0.0, ttl_s=None, max_keys=10)
    table.logged = True

    table.put_many({f"k{number}": number for number in range(25)})

    assert list(table.values.values()) == list(range(15, 25))
    assert len(table.dirty) == 15


def test_bytes_are_refused_because_a_restored_value_is_bytes_until_it_is_asked_for() -> None:
    table = Table(lambda: 0.0, ttl_s=None, max_keys=10)
    table.load({"a": (b"[1]", 0.0)})

    with pytest.raises(TypeError, match="base64"):
        table.put("b", b"2")
    with pytest.raises(TypeError, match="base64"):
        table.put_many({"c": 1, "b": b"2"})

    assert dict(table.items()) == {"a": [1]}

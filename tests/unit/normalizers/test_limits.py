from gc import is_tracked
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.normalizers.limits import (
    INT_MAX,
    INT_MIN,
    deep_suspects,
    has_wide_integer,
    is_deeper_than,
    unread_deep_suspects,
    wide_integer_suspects,
)


def suspects(values: list[bytes]) -> list[int]:
    return list(wide_integer_suspects(values, b"\n".join(values)))


@given(
    st.lists(
        st.tuples(
            st.text("0123456789-:abT. ", max_size=30),
            st.integers(-(2**66), 2**66),
            st.text("0123456789-:abT. ", max_size=30),
        ),
        max_size=12,
    )
)
def test_no_wide_integer_escapes_suspicion(parts: list[tuple[str, int, str]]) -> None:
    values = [orjson.dumps(before) + b"%d" % number + orjson.dumps(after)
              for before, number, after in parts]  # fmt: skip

    found = suspects(values)

    wide = {i for i, (_, number, _) in enumerate(parts) if not INT_MIN <= number <= INT_MAX}
    assert wide <= set(found)
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "text",
    [
        b'"2026-11-22T14:00:11.123456Z"',
        b'"2026-11-22T14:00:11.123456789Z"',
        b'"2026-11-22 14:00:11+00:00"',
        b'"0123456789012345"',
        b"1790000000123456789",
    ],
    ids=["microseconds", "nanoseconds", "with an offset", "16 digits", "nanoseconds as a number"],
)
@pytest.mark.parametrize("shift", range(4))
def test_what_every_log_holds_is_not_suspected(text: bytes, shift: int) -> None:
    assert suspects([b" " * shift + text, text]) == []


@given(st.integers(-(2**80), 2**80))
def test_an_integer_is_wide_when_64_bits_cannot_hold_it(number: int) -> None:
    assert has_wide_integer(b'{"a": [%d]}' % number) is (not INT_MIN <= number <= INT_MAX)


def depth_of(tree: Any) -> int:
    if isinstance(tree, dict):
        return 1 + max(map(depth_of, tree.values()), default=0)
    if isinstance(tree, list):
        return 1 + max(map(depth_of, tree), default=0)
    return 0


_TREES = st.recursive(
    st.text("[]{}\\\"'a", max_size=5) | st.integers(0, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\'), inner),
    max_leaves=20,
)


@given(_TREES, st.integers(0, 6))
def test_depth_counts_brackets_outside_of_text(tree: Any, limit: int) -> None:
    assert is_deeper_than(orjson.dumps(tree), limit) is (depth_of(tree) > limit)


@given(st.lists(_TREES, max_size=40), st.integers(1, 6))
def test_nothing_deep_escapes_suspicion(trees: list[Any], limit: int) -> None:
    values = [orjson.dumps(tree) for tree in trees]

    found = deep_suspects(values, [orjson.loads(value) for value in values], limit)

    assert {index for index, tree in enumerate(trees) if depth_of(tree) > limit} <= set(found)


@given(st.lists(_TREES.map(lambda tree: {"": tree}), max_size=40), st.integers(1, 6))
@example([{}] * 40 + [{"": [[[]]]}], 3)
def test_nothing_deep_escapes_suspicion_where_nobody_has_looked(
    trees: list[Any], limit: int
) -> None:
    values = [orjson.dumps(tree) for tree in trees]

    found = unread_deep_suspects(values, b"\n".join(values), limit)

    assert {index for index, tree in enumerate(trees) if depth_of(tree) > limit} <= set(found)


def test_flat_objects_are_no_suspects() -> None:
    values = [b'{"a":1}'] * 1000

    assert unread_deep_suspects(values, b"\n".join(values), 2) == []


def test_the_collector_tracks_every_dict_that_holds_a_container() -> None:
    # what deep_suspects relies on: "not tracked" means "flat"
    for parse in (orjson.loads, msgspec.json.decode):
        assert is_tracked(parse(b'{"a": {}}'))
        assert is_tracked(parse(b'{"a": []}'))
        assert is_tracked(parse(b"[]"))

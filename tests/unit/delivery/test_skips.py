"""What an earlier owner finished is not run again."""

import doctest
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.delivery import skips as skips_module
from service.delivery.skips import Range, SkipSet, union
from service.events import RecordBatch, SourceRecord


def ranges_of(steps: list[tuple[int, int]]) -> list[Range]:
    ranges: list[Range] = []
    at = 0
    for gap, length in steps:
        start = at + gap
        at = start + length
        ranges.append((start, at))
    return ranges


steps = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4)), max_size=8)


def test_the_example_in_the_docstring_holds() -> None:
    results = doctest.testmod(skips_module)

    assert results.attempted > 0
    assert results.failed == 0


@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param([(3, 3)], id="empty-range"),
        pytest.param([(3, 5), (4, 6)], id="overlapping"),
        pytest.param([(7, 9), (3, 5)], id="descending"),
    ],
)
def test_ranges_out_of_order_are_refused(ranges: list[Range]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        SkipSet(ranges)


@settings(max_examples=300)
@given(steps=steps, below=st.integers(0, 40))
def test_it_holds_what_a_set_would_hold(steps: list[tuple[int, int]], below: int) -> None:
    ranges = ranges_of(steps)
    model = {offset for start, end in ranges for offset in range(start, end)}
    skips = SkipSet(ranges)

    beyond = {offset for start, end in skips.beyond(below) for offset in range(start, end)}

    assert {offset for offset in range(100) if offset in skips} == model
    assert beyond == {offset for offset in model if offset >= below}
    skips.forget_below(below)
    assert {offset for offset in range(below, 100) if offset in skips} == beyond
    assert bool(skips) == bool(beyond)


@settings(max_examples=300)
@given(steps=steps, offsets=st.sets(st.integers(0, 60)))
def test_it_acknowledges_exactly_its_own_records(
    steps: list[tuple[int, int]], offsets: set[int]
) -> None:
    skips = SkipSet(ranges_of(steps))
    records = [SourceRecord(b"", offset=offset) for offset in sorted(offsets)]
    batch = RecordBatch("logs", 0, records, next_offset=100)

    skipped = skips.skip(batch)

    assert [bool(done) for done in batch.done] == [record.offset in skips for record in records]
    assert skipped == len(records) - batch.left


@settings(max_examples=300)
@given(left=steps, right=steps)
def test_a_union_holds_what_either_holds_and_no_two_ranges_touch(
    left: list[tuple[int, int]], right: list[tuple[int, int]]
) -> None:
    both = union(ranges_of(left), ranges_of(right))

    held = {offset for start, end in both for offset in range(start, end)}
    assert held == {
        offset
        for start, end in (*ranges_of(left), *ranges_of(right))
        for offset in range(start, end)
    }
    assert all(before[1] < after[0] for before, after in pairwise(both))

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.windows.aggregate import FOLD_AT, Aggregate
from service.windows.running import Running

_SIZES = st.lists(st.sampled_from([0, 1, 60, FOLD_AT - 1, FOLD_AT, 300]), max_size=6)


def aggregate_of(values: list[float]) -> Aggregate:
    aggregate = Aggregate()
    for value in values:
        aggregate.add(value)
    return aggregate


def merged(aggregates: list[Aggregate]) -> Aggregate:
    total = Aggregate()
    for each in aggregates:
        total.merge(each)
    return total


@settings(max_examples=60)
@given(_SIZES, st.sampled_from([FOLD_AT, 200, 300]), st.integers(1, 300), st.integers())
def test_what_is_kept_up_is_what_merging_makes_to_the_last_bit(
    sizes: list[int], first: int, more: int, seed: int
) -> None:
    random = Random(seed)

    def some(count: int) -> list[float]:
        return [random.choice([0.0, -0.0, 7.0, random.lognormvariate(3, 4)]) for _ in range(count)]

    closed = [aggregate_of(some(size)) for size in sizes if size]
    last = aggregate_of(some(first))
    running = Running(closed, last, 0)
    told_at = set(random.sample(range(more), min(more, 8)))

    for number, value in enumerate(some(more)):
        running.add(value)
        if number in told_at:
            # the text, in which 0.0 is not -0.0
            assert repr(running.report()) == repr(merged([*closed, last]).report())
    assert running.count == merged([*closed, last]).count


def test_few_values_of_the_last_one_are_enough_with_many_before_it() -> None:
    closed = [aggregate_of([float(number) for number in range(FOLD_AT)])]
    last = aggregate_of([3.5])

    running = Running(closed, last, 0)

    assert running.report() == merged([*closed, last]).report()


def test_the_largest_and_smallest_are_known_from_the_start() -> None:
    running = Running([aggregate_of([1e6, -1e6])], aggregate_of([1.0] * FOLD_AT), 0)

    running.add(2.0)

    assert (running.report()["min"], running.report()["max"]) == pytest.approx((-1e6, 1e6), rel=0)

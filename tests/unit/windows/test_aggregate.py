import math
import statistics

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.windows.aggregate import FOLD_AT, LARGEST, Aggregate
from service.windows.quantiles import MAX_BUCKETS

_VALUES = st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=200)


def aggregate_of(values: list[float]) -> Aggregate:
    aggregate = Aggregate()
    for value in values:
        aggregate.add(value)
    return aggregate


@given(_VALUES)
def test_an_aggregate_agrees_with_the_statistics_module(values: list[float]) -> None:
    aggregate = aggregate_of(values)

    report = aggregate.report()
    assert aggregate.count == report["count"] == len(values)
    assert (report["min"], report["max"]) == (min(values), max(values))
    assert report["mean"] == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert report["std"] == pytest.approx(statistics.stdev(values), rel=1e-6, abs=1e-6)
    else:
        assert report["std"] is None


@given(_VALUES, _VALUES)
def test_merged_aggregates_agree_with_one_of_all_values(
    some: list[float], others: list[float]
) -> None:
    merged = aggregate_of(some)
    merged.merge(aggregate_of(others))

    both = aggregate_of(some + others).report()

    assert merged.report() == pytest.approx(both, rel=1e-6, abs=1e-6)


def test_the_deviation_survives_a_mean_that_is_huge_against_it() -> None:
    values = [1e9 + step for step in (4.0, 7.0, 13.0, 16.0)]

    few, many = aggregate_of(values), aggregate_of(values * 1000)

    assert few.report()["std"] == pytest.approx(math.sqrt(30.0), rel=1e-12)
    assert many.report()["std"] == pytest.approx(statistics.stdev(values * 1000), rel=1e-12)


def test_the_largest_values_do_not_overflow_their_squares() -> None:
    aggregate = aggregate_of([LARGEST, -LARGEST] * 10_000)

    assert aggregate.report()["std"] == pytest.approx(LARGEST, rel=1e-3)


def test_merging_nothing_changes_nothing() -> None:
    aggregate = aggregate_of([1.0, 2.0])
    before = aggregate.report()

    aggregate.merge(Aggregate())

    assert aggregate.report() == before


def test_quantiles_never_leave_what_occurred() -> None:
    report = aggregate_of([100.0, 100.0]).report()

    assert (report["p50"], report["p99"]) == (100.0, 100.0)


def test_wildly_spread_values_stay_within_the_bound_on_memory() -> None:
    aggregate = aggregate_of([10.0 ** (exponent / 10) for exponent in range(-1400, 1400)])

    sketch = aggregate.figures().sketch
    assert len(sketch.above) <= MAX_BUCKETS
    assert aggregate.count == sketch.count


@given(_VALUES)
def test_an_aggregate_goes_on_after_its_encoding_as_if_nothing_had_been(
    values: list[float],
) -> None:
    aggregate = aggregate_of(values)

    again = Aggregate.decode(orjson.loads(aggregate.encode()))
    for each in (aggregate, again):
        each.add(3.5)

    assert again.report() == aggregate.report()


@pytest.mark.parametrize("recent", ["AAAA", "!", "AAAAAAAAAAA"])
def test_damaged_values_are_no_aggregate(recent: str) -> None:
    with pytest.raises(ValueError, match=r"(?i)bytes|base64|padding"):
        Aggregate.decode([None, recent])


@given(st.lists(st.floats(min_value=-1e6, max_value=1e6), min_size=1, max_size=FOLD_AT - 1))
def test_quantiles_of_few_values_are_values_of_their_rank(values: list[float]) -> None:
    report = aggregate_of(values).report()

    ordered = sorted(values)
    ranks = [int(share * (len(values) - 1)) for share in (0.5, 0.95, 0.99)]
    assert [report["p50"], report["p95"], report["p99"]] == [ordered[rank] for rank in ranks]

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.metrics.histogram import BUCKET_COUNT, UPPER_EDGES_S, Histogram, quantile_of

_MICROSECONDS = st.integers(min_value=0, max_value=2**36 - 1)


def _bucket_of(seconds: float) -> int:
    histogram = Histogram()
    histogram.record(seconds)
    return histogram.counts.index(1)


def test_an_empty_histogram_has_quantile_zero() -> None:
    assert Histogram().quantile(0.99) == 0.0


def test_edges_ascend() -> None:
    assert list(UPPER_EDGES_S) == sorted(set(UPPER_EDGES_S))
    assert len(UPPER_EDGES_S) == BUCKET_COUNT


@given(_MICROSECONDS)
def test_a_value_lies_below_the_edge_of_its_bucket_by_at_most_a_sixteenth(value_us: int) -> None:
    edge_us = round(UPPER_EDGES_S[_bucket_of((value_us + 0.5) / 1e6)] * 1e6)

    assert value_us < edge_us <= value_us + max(1, value_us // 16 + 1)


@given(st.lists(_MICROSECONDS, min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_the_nearest_rank_of_the_sorted_values(
    values_us: list[int], q: float
) -> None:
    histogram = Histogram()
    for value_us in values_us:
        histogram.record((value_us + 0.5) / 1e6)
    rank = max(1, -int(-q * len(values_us) // 1))

    expected_us = sorted(values_us)[rank - 1]

    assert histogram.quantile(q) == UPPER_EDGES_S[_bucket_of((expected_us + 0.5) / 1e6)]


def test_a_batch_counts_as_many_times_as_it_has_records() -> None:
    histogram = Histogram()

    histogram.record(0.002, count=500)

    assert histogram.count == 500
    assert histogram.sum_s == pytest.approx(1.0)


def test_a_clock_that_ran_backwards_counts_as_no_time() -> None:
    histogram = Histogram()

    histogram.record(-1.0)

    assert histogram.counts[0] == 1


def test_a_duration_of_days_counts_in_the_last_bucket() -> None:
    histogram = Histogram()

    histogram.record(1e6)

    assert histogram.counts[-1] == 1


def test_cumulative_counts_end_with_everything() -> None:
    histogram = Histogram()
    for seconds in (0.0009, 0.004, 0.04, 90.0):
        histogram.record(seconds)

    assert histogram.cumulative((0.001, 0.005, 0.05, 60.0)) == [1, 2, 3, 3, 4]


@given(st.lists(_MICROSECONDS, max_size=50), st.lists(st.floats(1e-5, 100), max_size=8))
def test_cumulative_counts_never_claim_a_slow_value_for_a_fast_bucket(
    values_us: list[int], bounds_s: list[float]
) -> None:
    bounds_s.sort()
    histogram = Histogram()
    for value_us in values_us:
        histogram.record((value_us + 0.5) / 1e6)

    totals = histogram.cumulative(bounds_s)

    assert totals == sorted(totals)
    assert totals[-1] == len(values_us)
    for bound_s, total in zip(bounds_s, totals, strict=False):
        assert total <= sum(value_us <= bound_s * 1e6 + 1 for value_us in values_us)


def test_quantiles_of_a_difference_see_only_the_difference() -> None:
    histogram = Histogram()
    histogram.record(10.0, count=1000)
    before = list(histogram.counts)
    histogram.record(0.001)

    recent = [now - old for now, old in zip(histogram.counts, before, strict=True)]

    assert quantile_of(recent, 0.99) == pytest.approx(0.001, rel=1 / 16)

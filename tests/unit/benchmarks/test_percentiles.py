"""Percentiles by nearest rank, slopes by least squares."""

import pytest

from benchmarks.harness.percentiles import percentile, slope


@pytest.mark.parametrize(
    ("share", "value"), [(0.5, 50), (0.99, 99), (0.999, 100), (1.0, 100), (0.0, 1)]
)
def test_the_nearest_rank_of_a_hundred_values(share: float, value: int) -> None:
    assert percentile(range(1, 101), share) == value


def test_a_single_value_is_every_percentile() -> None:
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0


def test_the_slope_of_a_line_is_found_among_symmetric_noise() -> None:
    points = [(0.0, 1.0), (1.0, 4.0), (2.0, 4.0), (3.0, 7.0)]

    assert slope(points) == pytest.approx(1.8)


def test_a_flat_line_has_no_slope() -> None:
    assert slope([(0.0, 5.0), (1.0, 5.0), (9.0, 5.0)]) == 0.0

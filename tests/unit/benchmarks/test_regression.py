"""The count of instructions must notice what became more expensive, and say what to do."""

import pytest

from benchmarks.regression.bound import Bound, verdict
from benchmarks.regression.counting import Counts

BOUND = Bound(python="3.11", floor=10_000, service=20_000, ratio=2.0)


@pytest.mark.parametrize("service", [19_700, 20_000, 20_300])
def test_a_count_near_the_bound_needs_no_words(service: float) -> None:
    assert verdict(Counts(10_000, service), BOUND, "3.11") == ("", "")


def test_a_dearer_event_is_a_problem_that_names_its_size_and_the_way_out() -> None:
    problem, advice = verdict(Counts(10_000, 20_500), BOUND, "3.11")

    assert "2.5% more" in problem
    assert "make regression-update" in problem
    assert not advice


def test_a_cheaper_event_passes_and_asks_for_a_new_bound() -> None:
    problem, advice = verdict(Counts(10_000, 15_000), BOUND, "3.11")

    assert not problem
    assert "25.0% less" in advice


def test_a_floor_that_rises_alike_is_another_processor_and_no_regression() -> None:
    assert verdict(Counts(12_000, 24_000), BOUND, "3.11") == ("", "")


def test_a_floor_that_falls_is_none_either() -> None:
    assert verdict(Counts(9_600, 20_100), BOUND, "3.11") == ("", "")


def test_another_python_is_not_compared_and_does_not_pass() -> None:
    problem, _ = verdict(Counts(10_000, 20_000), BOUND, "3.12")

    assert "Python 3.11" in problem


def test_the_committed_bound_is_one_that_its_own_count_meets() -> None:
    bound = Bound.read()

    assert verdict(Counts(bound.floor, bound.service), bound, bound.python) == ("", "")

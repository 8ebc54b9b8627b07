"""The collector waits longer while it finds nothing, and not when there are cycles to find."""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.app.collector import (
    LEAST_THRESHOLD,
    MOST_THRESHOLD,
    OLDER_THRESHOLDS,
    Patience,
    calm_collector,
)


@pytest.fixture
def calm() -> Iterator[None]:
    restore = calm_collector()
    yield
    restore()


def _cycles(count: int) -> None:
    for _ in range(count):
        cycle: list[object] = []
        cycle.append(cycle)


def test_looks_that_find_nothing_become_rarer_up_to_a_bound() -> None:
    patience = Patience()

    thresholds = [patience.looked(0) for _ in range(5)]

    assert thresholds == [200_000, 400_000, MOST_THRESHOLD, MOST_THRESHOLD, MOST_THRESHOLD]


def test_one_look_that_finds_cycles_brings_the_frequent_looks_back() -> None:
    patience = Patience()
    for _ in range(5):
        patience.looked(0)

    assert patience.looked(MOST_THRESHOLD // 10) == LEAST_THRESHOLD


def test_a_little_garbage_changes_nothing() -> None:
    patience = Patience()
    patience.looked(0)

    assert patience.looked(6_000) == 200_000


@given(st.lists(st.integers(0, 2 * MOST_THRESHOLD)))
def test_the_threshold_stays_within_its_bounds(found: list[int]) -> None:
    patience = Patience()

    assert all(LEAST_THRESHOLD <= patience.looked(each) <= MOST_THRESHOLD for each in found)


@pytest.mark.usefixtures("calm")
def test_the_collector_itself_is_told_after_each_look() -> None:
    assert gc.get_threshold() == (LEAST_THRESHOLD, *OLDER_THRESHOLDS)

    gc.collect()
    gc.collect()
    assert gc.get_threshold()[0] > LEAST_THRESHOLD

    _cycles(MOST_THRESHOLD // 5)
    gc.collect()
    assert gc.get_threshold()[0] == LEAST_THRESHOLD


def test_afterwards_it_is_as_it_was() -> None:
    before = gc.get_threshold(), len(gc.callbacks)

    calm_collector()()

    assert (gc.get_threshold(), len(gc.callbacks)) == before

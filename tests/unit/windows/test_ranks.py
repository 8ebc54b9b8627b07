import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.windows.quantiles import MAX_BUCKETS, QuantileSketch
from service.windows.ranks import Ranks

_SHARES = (0.0, 0.05, 0.5, 0.95, 1.0)
_VALUES = st.one_of(
    st.sampled_from([0.0, -0.0, 1e-200, 1.0, -1.0]),
    st.floats(min_value=-1e3, max_value=1e3),
    st.floats(min_value=-1e150, max_value=1e150),
)
_FULL = [10.0 ** (exponent / 8) for exponent in range(-MAX_BUCKETS // 2, MAX_BUCKETS // 2)]
"""Values of as many buckets as a sign may have."""


def counted(values: list[float]) -> QuantileSketch:
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(st.lists(_VALUES, min_size=1, max_size=30), st.lists(_VALUES, max_size=60))
def test_after_every_value_the_answers_are_those_of_a_sketch(
    some: list[float], others: list[float]
) -> None:
    sketch, ranks = counted(some), Ranks(counted(some), _SHARES)

    for value in others:
        sketch.add(value)
        ranks.add(value)

        assert ranks.quantiles() == sketch.quantiles(*_SHARES)
    assert ranks.count == len(some) + len(others)


@pytest.mark.parametrize("sign", [1, -1], ids=["above zero", "below zero"])
@given(st.lists(st.floats(min_value=-140, max_value=140), max_size=30))
def test_beyond_the_bound_the_smallest_magnitudes_go_together_as_in_a_sketch(
    sign: int, exponents: list[float]
) -> None:
    full = [sign * value for value in _FULL]
    assert len(counted(full).above | counted(full).below) == MAX_BUCKETS
    sketch, ranks = counted(full), Ranks(counted(full), _SHARES)

    for exponent in exponents:
        sketch.add(sign * 10.0**exponent)
        ranks.add(sign * 10.0**exponent)

        assert ranks.quantiles() == sketch.quantiles(*_SHARES)


def test_both_signs_may_be_full() -> None:
    both = [*_FULL, *(-value for value in _FULL), 0.0]
    sketch, ranks = counted(both), Ranks(counted(both), _SHARES)

    for value in (1e100, -1e100, 1e-100, -1e-100, 1e100, 2.5, -2.5, 0.0):
        sketch.add(value)
        ranks.add(value)

        assert ranks.quantiles() == sketch.quantiles(*_SHARES)

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.windows.quantiles import ACCURACY, MAX_BUCKETS, QuantileSketch

_VALUES = st.lists(
    st.floats(min_value=-1e9, max_value=1e9).filter(lambda x: x == 0 or abs(x) > 1e-9),
    min_size=1,
    max_size=200,
)
_SHARES = (0.0, 0.5, 0.95, 0.99, 1.0)


def sketch_of(values: list[float]) -> QuantileSketch:
    sketch = QuantileSketch()
    for value in values:
        sketch.add(value)
    return sketch


@given(_VALUES)
def test_every_quantile_is_within_its_relative_error_of_the_sorted_values(
    values: list[float],
) -> None:
    ordered = sorted(values)

    answers = sketch_of(values).quantiles(*_SHARES)

    for share, answer in zip(_SHARES, answers, strict=True):
        exact = ordered[int(share * (len(values) - 1))]
        assert abs(answer - exact) <= ACCURACY * abs(exact) * (1 + 1e-9)


@given(_VALUES, _VALUES)
def test_two_sketches_add_up_to_the_sketch_of_all_values(
    some: list[float], others: list[float]
) -> None:
    merged = sketch_of(some)

    merged.merge(sketch_of(others))

    both = sketch_of(some + others)
    assert (merged.above, merged.below, merged.zeros) == (both.above, both.below, both.zeros)


@given(_VALUES)
def test_a_sketch_survives_its_encoding_as_json(values: list[float]) -> None:
    sketch = sketch_of(values)

    again = QuantileSketch.decode(orjson.loads(orjson.dumps(sketch.encode())))

    assert again.quantiles(*_SHARES) == sketch.quantiles(*_SHARES)


def test_memory_is_bounded_and_only_the_smallest_values_lose_accuracy() -> None:
    values = [10.0 ** (exponent / 10) for exponent in range(-1400, 1400)]

    sketch = sketch_of(values)

    assert len(sketch.above) <= MAX_BUCKETS
    assert sketch.count == len(values)
    high = sketch.quantiles(0.95)[0]
    exact = values[int(0.95 * (len(values) - 1))]
    assert abs(high - exact) <= ACCURACY * exact * (1 + 1e-9)


def test_an_empty_sketch_has_no_quantiles() -> None:
    with pytest.raises(ValueError, match="empty"):
        QuantileSketch().quantiles(0.5)

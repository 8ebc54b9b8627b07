"""Numbers of any size come back, and damaged ones are noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.delivery.varints import VarintReader, varint, varint_size


@given(numbers=st.lists(st.integers(0, (1 << 70) - 1)), rest=st.binary())
def test_numbers_come_back_in_order_and_the_rest_after_them(
    numbers: list[int], rest: bytes
) -> None:
    reader = VarintReader(b"".join(varint(number) for number in numbers) + rest)

    assert [reader.varint() for _ in numbers] == numbers
    assert reader.rest() == rest


@given(number=st.integers(0, (1 << 70) - 1))
def test_the_size_is_known_without_encoding(number: int) -> None:
    assert varint_size(number) == len(varint(number))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x80", id="cut-off"),
        pytest.param(b"\xff" * 10 + b"\x01", id="oversize"),
    ],
)
def test_a_number_that_does_not_end_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError, match="truncated or oversize"):
        VarintReader(data).varint()

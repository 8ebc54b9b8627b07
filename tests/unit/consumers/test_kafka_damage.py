"""Where a batch ends whose header cannot be believed."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from service.consumers.kafka_damage import end_of

ENDS = range(11, 101)
"""A batch that begins at 10, in a log that ends at 100."""


class Stored:
    """A batch with a claim and records."""

    def __init__(self, next_offset: int, offsets: list[int] | None) -> None:
        self.next_offset = next_offset
        self._offsets = offsets

    def __iter__(self) -> Iterator[Any]:
        if self._offsets is None:
            raise SystemError("what the client's decoder raises")
        return iter([SimpleNamespace(offset=offset) for offset in self._offsets])


@pytest.mark.parametrize(
    ("claim", "offsets", "following", "end"),
    [
        pytest.param(99, [10, 11], 15, 15, id="the batch behind it knows best"),
        pytest.param(15, [10, 14], 3, 15, id="unless that one lies too"),
        pytest.param(15, [10, 14], 101, 15, id="or lies outside of the log"),
        pytest.param(15, [10, 14], None, 15, id="header and records agree"),
        pytest.param(40, [10, 14], None, 15, id="the header says more"),
        pytest.param(13, [10, 14], None, 13, id="the header says less"),
        pytest.param(15, None, None, 15, id="the records cannot be decoded"),
        pytest.param(10, [10, 14], None, 15, id="the header goes nowhere"),
        pytest.param(2**31, None, None, 11, id="nobody knows"),
        pytest.param(-5, [], None, 11, id="before it begins"),
        pytest.param(100, [10, 99], None, 100, id="the end of the log"),
    ],
)
def test_the_end_is_never_past_what_is_known(
    claim: int, offsets: list[int] | None, following: int | None, end: int
) -> None:
    assert end_of(Stored(claim, offsets), following=following, ends=ENDS) == end

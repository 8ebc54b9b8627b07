"""Quantiles of a stream in bounded memory, with a bound on the relative error.

The DDSketch of Masson, Rim and Lee (PVLDB 12(12), 2019): a value falls into the bucket
``ceil(log_gamma(abs(value)))`` with ``gamma = (1 + a) / (1 - a)``, and a bucket is answered by its
middle ``2 * gamma**i / (gamma + 1)``, which is never further than ``a`` from any value in it.
Two sketches add up to the sketch of both, so sessions can merge and changelogs can be replayed.
"""

from collections.abc import Sequence
from math import ceil, log
from typing import Any, Final

ACCURACY: Final = 0.01
"""Largest relative error of a quantile."""
MAX_BUCKETS: Final = 1024
"""Most buckets a sign; beyond it the buckets of the smallest magnitudes become one.

At 1 % they span 20 orders of magnitude, so only the extremes of wild data lose accuracy.
"""
SMALLEST: Final = 1e-150
"""Magnitudes below it count as zero."""

_GAMMA: Final = (1 + ACCURACY) / (1 - ACCURACY)
PER_LOG: Final = 1 / log(_GAMMA)
"""Buckets per unit of the natural logarithm."""


class QuantileSketch:
    """Counts of values by the logarithm of their magnitude.

    Values are finite; what is smaller than :data:`SMALLEST` is zero here.
    """

    __slots__ = ("above", "below", "zeros")

    def __init__(self) -> None:
        self.above: dict[int, int] = {}
        self.below: dict[int, int] = {}
        self.zeros = 0

    def add(self, value: float) -> None:
        """Count one value; O(1)."""
        if value > SMALLEST:
            buckets = self.above
            bucket = ceil(log(value) * PER_LOG)
        elif value < -SMALLEST:
            buckets = self.below
            bucket = ceil(log(-value) * PER_LOG)
        else:
            self.zeros += 1
            return
        if bucket in buckets:
            buckets[bucket] += 1
            return
        buckets[bucket] = 1
        if len(buckets) > MAX_BUCKETS:
            _collapse(buckets)

    def add_many(self, values: Sequence[float]) -> None:
        """:meth:`add` for each of ``values``, of which there is at least one."""
        buckets = self.above
        if min(values) <= SMALLEST or len(buckets) > MAX_BUCKETS - len(values):
            for value in values:
                self.add(value)
            return
        held = buckets.get
        for exponent in map(log, values):
            bucket = ceil(exponent * PER_LOG)
            buckets[bucket] = held(bucket, 0) + 1

    def merge(self, other: "QuantileSketch") -> None:
        """Count everything that ``other`` has counted."""
        self.zeros += other.zeros
        for mine, theirs in ((self.above, other.above), (self.below, other.below)):
            for bucket, count in theirs.items():
                mine[bucket] = mine.get(bucket, 0) + count
            while len(mine) > MAX_BUCKETS:
                _collapse(mine)

    @property
    def count(self) -> int:
        """Values counted."""
        return self.zeros + sum(self.above.values()) + sum(self.below.values())

    def quantiles(self, *shares: float) -> list[float]:
        """The values of rank ``floor(share * (count - 1))``, counted from 0 and from below.

        Args:
            shares: Each from 0 to 1, ascending.

        Raises:
            ValueError: If nothing was counted.
        """
        count = self.count
        if not count:
            raise ValueError("an empty sketch has no quantiles")
        ranks = [int(share * (count - 1)) for share in shares]
        answers: list[float] = []
        seen = 0
        for value, held in self._ascending():
            seen += held
            while len(answers) < len(ranks) and ranks[len(answers)] < seen:
                answers.append(value)
        return answers

    def _ascending(self) -> list[tuple[float, int]]:
        below = [(-_middle(i), self.below[i]) for i in sorted(self.below, reverse=True)]
        above = [(_middle(i), self.above[i]) for i in sorted(self.above)]
        return [*below, (0.0, self.zeros), *above]

    def encode(self) -> list[Any]:
        """As JSON; :meth:`decode` gives it back."""
        return [
            self.zeros,
            [*self.above.keys(), *self.above.values()],
            [*self.below.keys(), *self.below.values()],
        ]

    @classmethod
    def decode(cls, encoded: list[Any]) -> "QuantileSketch":
        """The sketch that :meth:`encode` described."""
        sketch = cls()
        sketch.zeros, above, below = encoded
        sketch.above, sketch.below = _buckets(above), _buckets(below)
        return sketch


def _buckets(flat: list[int]) -> dict[int, int]:
    half = len(flat) // 2
    return dict(zip(flat[:half], flat[half:], strict=True))


def _middle(bucket: int) -> float:
    return 2 * _GAMMA**bucket / (_GAMMA + 1)


def _collapse(buckets: dict[int, int]) -> None:
    """Put the two buckets of the smallest magnitudes together."""
    lowest = min(buckets)
    count = buckets.pop(lowest)
    buckets[min(buckets)] += count

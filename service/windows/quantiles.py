"""Quantiles of a stream in bounded memory, with a bound on the relative error.

The DDSketch of Masson, Rim and Lee (PVLDB 12(12), 2019): a value falls into the bucket
``ceil(log_gamma(abs(value)))`` with ``gamma = (1 + a) / (1 - a)``, and a bucket is answered by its
middle ``2 * gamma**i / (gamma + 1)``, which is never further than ``a`` from any value in it.
Two sketches add up to the sketch of both, so sessions can merge and changelogs can be replayed.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
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
        self.above: Counter[int] = Counter()
        self.below: Counter[int] = Counter()
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
        buckets.update(map(ceil, map(PER_LOG.__mul__, map(log, values))))

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
            shares: Each from 0 to 1.

        Raises:
            ValueError: If nothing was counted.
        """
        below, above = self.below, self.above
        buckets = [*sorted(below, reverse=True), None, *sorted(above)]
        zeros_at = len(below)
        counts = [below[bucket] for bucket in buckets[:zeros_at] if bucket is not None]
        counts.append(self.zeros)
        counts += [above[bucket] for bucket in buckets[zeros_at + 1 :] if bucket is not None]
        seen = list(accumulate(counts))
        if not seen[-1]:
            raise ValueError("an empty sketch has no quantiles")
        answers: list[float] = []
        for share in shares:
            place = bisect_right(seen, int(share * (seen[-1] - 1)))
            bucket = buckets[place]
            answer = 0.0 if bucket is None else middle(bucket)
            answers.append(-answer if place < zeros_at else answer)
        return answers

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
        sketch = cls.__new__(cls)
        sketch.zeros, above, below = encoded
        sketch.above, sketch.below = _buckets(above), _buckets(below)
        return sketch


def _buckets(flat: list[int]) -> Counter[int]:
    half = len(flat) // 2
    buckets: Counter[int] = Counter()
    # not the constructor's argument: it asks for far more than this needs
    dict.update(buckets, zip(flat[:half], flat[half:], strict=True))
    return buckets


def middle(bucket: int) -> float:
    """What is answered for the values of ``bucket``."""
    return 2 * _GAMMA**bucket / (_GAMMA + 1)


def _collapse(buckets: Counter[int]) -> None:
    """Put the two buckets of the smallest magnitudes together."""
    lowest = min(buckets)
    count = buckets.pop(lowest)
    buckets[min(buckets)] += count

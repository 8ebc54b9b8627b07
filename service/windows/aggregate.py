"""What is known of the values of one window: count, mean, deviation, extremes, quantiles.

The last few values are kept as they came and folded in together, because adding a value to an
array costs a tenth of updating every figure.  Between two folds the figures lie there as the JSON
that the changelog gets: a dictionary of buckets would be ten times as large, and with many keys
it is the memory that has to be fetched, not the arithmetic, that takes the time.

A run's mean and deviation are computed in two passes with the correction of Chan, Golub and
LeVeque ("Algorithms for computing the sample variance", The American Statistician 37(3), 1983),
and runs are put together by the formula of the same authors ("Updating formulae and a pairwise
algorithm for computing sample variances", 1979); it does not cancel when the mean is large
against the deviation.  Quantiles by :class:`~service.windows.quantiles.QuantileSketch`.
"""

import sys
from array import array
from binascii import a2b_base64, b2a_base64
from math import inf, sqrt
from typing import Any, Final

import orjson

from service.windows.quantiles import QuantileSketch

LARGEST: Final = 1e150
"""Largest magnitude of a value: its square must still be a number."""
FOLD_AT: Final = 128
"""Values that are kept as they came before they are folded in."""

_LITTLE: Final = sys.byteorder == "little"
_SHARES: Final = (0.5, 0.95, 0.99)


class Figures:
    """What is known of the values that have been folded in.

    Attributes:
        count: Values so far.
        mean: Their arithmetic mean.
        m2: Sum of the squared distances from the mean.
        min: The smallest; infinity while there is none.
        max: The largest; minus infinity while there is none.
        sketch: Their quantiles.
    """

    __slots__ = ("count", "m2", "max", "mean", "min", "sketch")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self.m2 = 0.0
        self.min = inf
        self.max = -inf
        self.sketch = QuantileSketch()

    def add_many(self, values: "array[float]") -> None:
        """Add ``values``, of which there is at least one."""
        self.add_moments(values)
        self.sketch.add_many(values)

    def add_moments(self, values: "array[float]") -> None:
        """:meth:`add_many` without the quantiles."""
        count = len(values)
        mean = sum(values) / count
        deltas = [value - mean for value in values]
        left = sum(deltas)  # what the rounding of the mean has left over
        m2 = sum([delta * delta for delta in deltas]) - left * left / count
        self._combine(count, mean + left / count, m2)
        low, high = min(values), max(values)
        self.min = min(self.min, low)
        self.max = max(self.max, high)

    def merge(self, other: "Figures") -> None:
        """Add everything that ``other`` has, which holds at least one value."""
        self._combine(other.count, other.mean, other.m2)
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sketch.merge(other.sketch)

    def _combine(self, count: int, mean: float, m2: float) -> None:
        total = self.count + count
        delta = mean - self.mean
        # the counts first: squares of the largest values leave no room for them
        self.m2 += m2 + delta * delta * (self.count * count / total)
        self.mean += delta * count / total
        self.count = total

    def encode(self) -> bytes:
        """As JSON; :meth:`decode` gives it back."""
        sketch = self.sketch.encode()
        return orjson.dumps([self.count, self.mean, self.m2, self.min, self.max, sketch])

    @classmethod
    def decode(cls, encoded: bytes) -> "Figures":
        """The figures that :meth:`encode` described."""
        figures = cls.__new__(cls)
        figures.count, figures.mean, figures.m2, figures.min, figures.max, sketch = orjson.loads(
            encoded
        )
        figures.sketch = QuantileSketch.decode(sketch)
        return figures


class Aggregate:
    """Adds up finite values no larger than :data:`LARGEST`; O(1) a value.

    Attributes:
        recent: Values that are not folded in yet.  Whoever cannot afford a call may append to it
            and calls :meth:`fold` when it has :data:`FOLD_AT` of them.
    """

    __slots__ = ("_folded", "_folded_count", "recent")

    def __init__(self) -> None:
        self.recent = array("d")
        self._folded_count = 0
        self._folded = b""

    def add(self, value: float) -> None:
        """Add one value."""
        recent = self.recent
        recent.append(value)
        if len(recent) >= FOLD_AT:
            self.fold()

    def fold(self) -> None:
        """Add the recent values to the figures."""
        self._keep(self.figures())

    def merge(self, other: "Aggregate") -> None:
        """Add everything that ``other`` has added."""
        folded = other._folded  # noqa: SLF001 -- one of our own kind
        if folded:
            figures = self.figures()
            figures.merge(Figures.decode(folded))
            self._keep(figures)
        self.recent.extend(other.recent)
        if len(self.recent) >= FOLD_AT:
            self.fold()

    def _keep(self, figures: Figures) -> None:
        if figures.count:
            self._folded = figures.encode()
            self._folded_count = figures.count
            self.recent = array("d")

    @property
    def count(self) -> int:
        """Values so far."""
        return self._folded_count + len(self.recent)

    def figures(self) -> Figures:
        """What is known of all values, to keep."""
        figures = Figures.decode(self._folded) if self._folded else Figures()
        if self.recent:
            figures.add_many(self.recent)
        return figures

    def report(self) -> dict[str, float | int | None]:
        """The aggregate for people and dashboards; it holds at least one value.

        ``std`` is the sample deviation (n - 1), ``None`` below two values.  Quantiles are within
        1 % of the value of their rank, and never outside of what occurred; of fewer than
        :data:`FOLD_AT` values they are exact.
        """
        if self._folded:
            figures = self.figures()
            low, high = figures.min, figures.max
            quantiles = figures.sketch.quantiles(*_SHARES)
            p50, p95, p99 = (min(max(value, low), high) for value in quantiles)
        else:
            figures = Figures()
            figures.add_moments(self.recent)
            low, high = figures.min, figures.max
            ordered = sorted(self.recent)  # all values are there, so nothing need be estimated
            p50, p95, p99 = (ordered[int(share * (len(ordered) - 1))] for share in _SHARES)
        count = figures.count
        return {
            "count": count,
            "mean": figures.mean,
            "min": low,
            "max": high,
            "std": sqrt(figures.m2 / (count - 1)) if count > 1 else None,
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }

    def encode(self) -> bytes:
        """As the text of JSON; :meth:`decode` gives it back.

        The recent values are doubles, little end first, in base64: a fifth of the time that
        numbers take, and about as long.
        """
        recent = self.recent
        if not _LITTLE:
            recent = recent[:]
            recent.byteswap()
        return b'[%b,"%b"]' % (self._folded or b"null", b2a_base64(recent, newline=False))

    @classmethod
    def decode(cls, encoded: list[Any]) -> "Aggregate":
        """The aggregate of this JSON.

        Raises:
            ValueError: If it is of no aggregate.
        """
        aggregate = cls()
        folded, recent = encoded
        aggregate.recent.frombytes(a2b_base64(recent, strict_mode=True))
        if not _LITTLE:
            aggregate.recent.byteswap()
        if folded is not None:
            aggregate._folded_count = folded[0]
            aggregate._folded = orjson.dumps(folded)
        return aggregate

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
from collections.abc import Iterable
from math import inf, sqrt
from typing import Any, Final, Self

import orjson

from service.windows.quantiles import QuantileSketch

LARGEST: Final = 1e150
"""Largest magnitude of a value: its square must still be a number."""
FOLD_AT: Final = 128
"""Values that are kept as they came before they are folded in."""

_LITTLE: Final = sys.byteorder == "little"
SHARES: Final = (0.5, 0.95, 0.99)
"""Of the values, which are at or below the quantiles that are told."""


class Moments:
    """Count, mean and deviation of some values.

    Attributes:
        count: Values so far.
        mean: Their arithmetic mean.
        m2: Sum of the squared distances from the mean.
    """

    __slots__ = ("count", "m2", "mean")

    def __init__(self, count: int = 0, mean: float = 0.0, m2: float = 0.0) -> None:
        self.count = count
        self.mean = mean
        self.m2 = m2

    def add_run(self, values: "array[float]") -> None:
        """Add ``values``, of which there is at least one."""
        count = len(values)
        mean = sum(values) / count
        deltas = [value - mean for value in values]
        left = sum(deltas)  # what the rounding of the mean has left over
        m2 = sum([delta * delta for delta in deltas]) - left * left / count
        self.combine(count, mean + left / count, m2)

    def combine(self, count: int, mean: float, m2: float) -> None:
        """Add the moments of other values, of which there is at least one."""
        total = self.count + count
        delta = mean - self.mean
        # the counts first: squares of the largest values leave no room for them
        self.m2 += m2 + delta * delta * (self.count * count / total)
        self.mean += delta * count / total
        self.count = total

    def report(
        self, low: float, high: float, quantiles: Iterable[float]
    ) -> dict[str, float | int | None]:
        """See :meth:`Aggregate.report`.

        Args:
            low: The smallest value.
            high: The largest value.
            quantiles: Those of :data:`SHARES`, as they were found.
        """
        p50, p95, p99 = (min(max(value, low), high) for value in quantiles)
        count = self.count
        return {
            "count": count,
            "mean": self.mean,
            "min": low,
            "max": high,
            "std": sqrt(self.m2 / (count - 1)) if count > 1 else None,
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
        """The moments of the figures that :meth:`Figures.encode` described."""
        return cls(*orjson.loads(encoded)[:3])


class Figures(Moments):
    """What is known of the values that have been folded in.

    Attributes:
        min: The smallest; infinity while there is none.
        max: The largest; minus infinity while there is none.
        sketch: Their quantiles.
    """

    __slots__ = ("max", "min", "sketch")

    def __init__(self) -> None:
        super().__init__()
        self.min = inf
        self.max = -inf
        self.sketch = QuantileSketch()

    def add_many(self, values: "array[float]") -> None:
        """Add ``values``, of which there is at least one."""
        self.add_run(values)
        self.count_in(values)

    def count_in(self, values: "array[float]") -> None:
        """:meth:`add_many` without the moments."""
        low, high = min(values), max(values)
        self.min = min(self.min, low)
        self.max = max(self.max, high)
        self.sketch.add_many(values)

    def merge(self, other: "Figures") -> None:
        """Add everything that ``other`` has, which holds at least one value."""
        self.combine(other.count, other.mean, other.m2)
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sketch.merge(other.sketch)

    def encode(self) -> bytes:
        """As JSON; :meth:`decode` gives it back."""
        sketch = self.sketch.encode()
        return orjson.dumps([self.count, self.mean, self.m2, self.min, self.max, sketch])

    @classmethod
    def decode(cls, encoded: bytes) -> Self:
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
        folded: The others, as :class:`Figures` encodes them; empty while there are none.
        folded_count: How many the others are.
    """

    __slots__ = ("folded", "folded_count", "recent")

    def __init__(self) -> None:
        self.recent = array("d")
        self.folded_count = 0
        self.folded = b""

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
        if other.folded:
            figures = self.figures()
            figures.merge(Figures.decode(other.folded))
            self._keep(figures)
        self.recent.extend(other.recent)
        if len(self.recent) >= FOLD_AT:
            self.fold()

    def _keep(self, figures: Figures) -> None:
        if figures.count:
            self.folded = figures.encode()
            self.folded_count = figures.count
            self.recent = array("d")

    @property
    def count(self) -> int:
        """Values so far."""
        return self.folded_count + len(self.recent)

    def figures(self) -> Figures:
        """What is known of all values, to keep."""
        figures = Figures.decode(self.folded) if self.folded else Figures()
        if self.recent:
            figures.add_many(self.recent)
        return figures

    def report(self) -> dict[str, float | int | None]:
        """The aggregate for people and dashboards; it holds at least one value.

        ``std`` is the sample deviation (n - 1), ``None`` below two values.  Quantiles are within
        1 % of the value of their rank, and never outside of what occurred; of fewer than
        :data:`FOLD_AT` values they are exact.
        """
        if self.folded:
            figures = self.figures()
            return figures.report(figures.min, figures.max, figures.sketch.quantiles(*SHARES))
        return report_of_few(self.recent)

    def encode(self) -> bytes:
        """As the text of JSON; :meth:`decode` gives it back.

        The recent values are doubles, little end first, in base64: a fifth of the time that
        numbers take, and about as long.
        """
        recent = self.recent
        if not _LITTLE:
            recent = recent[:]
            recent.byteswap()
        return b'[%b,"%b"]' % (self.folded or b"null", b2a_base64(recent, newline=False))

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
            aggregate.folded_count = folded[0]
            aggregate.folded = orjson.dumps(folded)
        return aggregate


def report_of_few(values: "array[float]") -> dict[str, float | int | None]:
    """See :meth:`Aggregate.report`; all values are there, so nothing need be estimated."""
    moments = Moments()
    moments.add_run(values)
    ordered = sorted(values)
    last = len(ordered) - 1
    quantiles = [ordered[int(share * last)] for share in SHARES]
    return moments.report(ordered[0], max(values), quantiles)


def added_up(aggregates: Iterable[Aggregate]) -> "tuple[Figures, array[float]]":
    """What merging all of them in their order makes: what is folded in, and what is recent."""
    figures, recent = Figures(), array("d")
    for each in aggregates:
        if each.folded:
            if recent:
                figures.add_many(recent)
                recent = array("d")
            figures.merge(Figures.decode(each.folded))
        recent.extend(each.recent)
        if len(recent) >= FOLD_AT:
            figures.add_many(recent)
            recent = array("d")
    return figures, recent

"""What is known of the values of one window: count, mean, deviation, extremes, quantiles.

Mean and deviation by Welford's recurrence (Technometrics 4(3), 1962), which does not cancel when
the mean is large against the deviation; two of them are put together by the formula of Chan,
Golub and LeVeque ("Updating formulae and a pairwise algorithm for computing sample variances",
1979).  Quantiles by :class:`~service.windows.quantiles.QuantileSketch`.
"""

from math import ceil, inf, log, sqrt
from typing import Any, Final

from service.windows.quantiles import MAX_BUCKETS, PER_LOG, SMALLEST, QuantileSketch

LARGEST: Final = 1e150
"""Largest magnitude of a value: its square must still be a number."""


class Aggregate:
    """Adds up finite values no larger than :data:`LARGEST`; O(1) a value.

    Attributes:
        count: Values so far.
        mean: Their arithmetic mean.
        min: The smallest; infinity while there is none.
        max: The largest; minus infinity while there is none.
    """

    __slots__ = ("_m2", "count", "max", "mean", "min", "sketch")

    def __init__(self) -> None:
        self.count = 0
        self.mean = 0.0
        self._m2 = 0.0
        self.min = inf
        self.max = -inf
        self.sketch = QuantileSketch()

    def add(self, value: float) -> None:
        """Add one value."""
        count = self.count = self.count + 1
        delta = value - self.mean
        mean = self.mean = self.mean + delta / count
        self._m2 += delta * (value - mean)
        if value < self.min:  # noqa: PLR1730 -- min() is a call, and this runs per event
            self.min = value
        if value > self.max:  # noqa: PLR1730 -- as above
            self.max = value
        # QuantileSketch.add for the usual value, without the call: this line runs per event
        if value > SMALLEST:
            buckets = self.sketch.above
            bucket = ceil(log(value) * PER_LOG)
            if bucket in buckets:
                buckets[bucket] += 1
                return
            if len(buckets) < MAX_BUCKETS:
                buckets[bucket] = 1
                return
        self.sketch.add(value)

    def merge(self, other: "Aggregate") -> None:
        """Add everything that ``other`` has added."""
        if not other.count:
            return
        count = self.count + other.count
        delta = other.mean - self.mean
        self._m2 += delta * delta * self.count * other.count / count
        self._m2 += other._m2  # noqa: SLF001 -- one of our own kind
        self.mean += delta * other.count / count
        self.count = count
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)
        self.sketch.merge(other.sketch)

    @property
    def std(self) -> float | None:
        """Sample standard deviation (n - 1); ``None`` below two values."""
        return sqrt(self._m2 / (self.count - 1)) if self.count > 1 else None

    def report(self) -> dict[str, float | int | None]:
        """The aggregate for people and dashboards; it holds at least one value.

        Quantiles are within 1 % of the value of their rank, and never outside of what occurred.
        """
        low, high = self.min, self.max
        p50, p95, p99 = (
            min(max(value, low), high) for value in self.sketch.quantiles(0.5, 0.95, 0.99)
        )
        return {
            "count": self.count,
            "mean": self.mean,
            "min": low,
            "max": high,
            "std": self.std,
            "p50": p50,
            "p95": p95,
            "p99": p99,
        }

    def encode(self) -> list[Any]:
        """As JSON; :meth:`decode` gives it back."""
        return [self.count, self.mean, self._m2, self.min, self.max, self.sketch.encode()]

    @classmethod
    def decode(cls, encoded: list[Any]) -> "Aggregate":
        """The aggregate that :meth:`encode` described; it holds at least one value."""
        aggregate = cls()
        aggregate.count, aggregate.mean, aggregate._m2 = encoded[:3]
        aggregate.min, aggregate.max = encoded[3:5]
        aggregate.sketch = QuantileSketch.decode(encoded[5])
        return aggregate

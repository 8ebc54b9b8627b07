"""A histogram that costs a list increment, and quantiles of what it saw lately.

The hot path adds whole batches to plain integers; a reader that comes by now and then takes
differences between two states.  So recording needs no clock, no lock and no rotation, and a
reader in another thread sees at worst a batch that is half a microsecond old.

Buckets are log-linear as in HdrHistogram: 16 equal steps within each power of two of
microseconds, which bounds the relative error of a quantile to 1/16.
"""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate

_STEP_BITS = 4
_STEPS = 1 << _STEP_BITS
_MAX_US = (1 << 36) - 1
"""About 19 hours; anything longer is counted as this long."""


def _bucket(value_us: int) -> int:
    """Index of the bucket that holds ``value_us``; buckets below 32 µs are exact."""
    shift = value_us.bit_length() - _STEP_BITS - 1
    return value_us if shift <= 0 else shift * _STEPS + (value_us >> shift)


def _upper_s(bucket: int) -> float:
    """Upper edge of a bucket, in seconds: one microsecond past the last value it holds."""
    if bucket < 2 * _STEPS:
        return (bucket + 1) / 1e6
    shift = bucket // _STEPS - 1
    return ((bucket % _STEPS + _STEPS + 1) << shift) / 1e6


BUCKET_COUNT = _bucket(_MAX_US) + 1
UPPER_EDGES_S: Sequence[float] = tuple(_upper_s(bucket) for bucket in range(BUCKET_COUNT))
"""Upper edge of every bucket in seconds, ascending."""


class Histogram:
    """Durations, counted since the start of the process.

    >>> latency = Histogram()
    >>> latency.record(0.003, count=99)
    >>> latency.record(1.0)
    >>> latency.count
    100
    >>> 0.003 <= latency.quantile(0.5) <= 0.0032
    True
    """

    __slots__ = ("counts", "sum_s")

    def __init__(self) -> None:
        self.counts = [0] * BUCKET_COUNT
        self.sum_s = 0.0

    def record(self, seconds: float, count: int = 1) -> None:
        """Add ``count`` observations that took ``seconds`` each; negative ones count as 0."""
        value_us = int(seconds * 1e6)
        if value_us < 0:
            value_us = 0
        elif value_us > _MAX_US:
            value_us = _MAX_US
        shift = value_us.bit_length() - _STEP_BITS - 1
        bucket = value_us if shift <= 0 else shift * _STEPS + (value_us >> shift)
        self.counts[bucket] += count
        self.sum_s += seconds * count

    @property
    def count(self) -> int:
        """Observations so far."""
        return sum(self.counts)

    def quantile(self, q: float) -> float:
        """The ``q`` quantile of everything recorded, in seconds; 0.0 while empty."""
        return quantile_of(self.counts, q)

    def cumulative(self, bounds_s: Sequence[float]) -> list[int]:
        """Observations up to each of ``bounds_s`` (ascending), and all of them at the end.

        A bucket counts towards the first bound that its upper edge does not exceed, so a bound
        that lies inside a bucket gets that bucket only at the next bound.
        """
        totals = list(accumulate(self.counts))
        fit = [_buckets_within(bound_s) for bound_s in bounds_s]
        return [*(totals[n - 1] if n else 0 for n in fit), totals[-1]]


def _buckets_within(bound_s: float) -> int:
    """How many buckets lie wholly at or below ``bound_s``."""
    # One microsecond of grace: edges are exclusive, so a bucket (…, 1 ms) has the edge 1.001 ms.
    return bisect_left(UPPER_EDGES_S, bound_s + 2e-6)


def quantile_of(counts: Sequence[int], q: float) -> float:
    """The ``q`` quantile (0 to 1) of bucket ``counts``, in seconds; 0.0 while all are zero.

    Nearest rank: the upper edge of the bucket that holds the observation of rank
    ``ceil(q * count)``, so it errs towards slow, by at most 1/16.
    """
    total = sum(counts)
    if total == 0:
        return 0.0
    rank = max(1, -int(-q * total // 1))
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= rank:
            return UPPER_EDGES_S[bucket]
    raise AssertionError("rank lies within the total")

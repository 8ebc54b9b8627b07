"""Quantiles that are asked for after every value: where they stand is known, and kept up.

A :class:`~service.windows.quantiles.QuantileSketch` sorts its buckets for each answer.  Here they
lie in order, those of negative values first, and for each quantile it is known in which of them
it is and how many values lie before.  One more value moves it by one bucket at the most.
"""

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import ceil, log
from typing import Final

from service.windows.quantiles import MAX_BUCKETS, PER_LOG, SMALLEST, QuantileSketch, middle

_ORIGIN: Final = 2**15
"""Place of the bucket 0 of positive values: further from 0 than any bucket from it.

Places of negative values are those of their magnitudes below 0, and zeros are at 0.
"""


class Ranks:
    """Answers as a sketch that has counted the same values does; O(log buckets) a value.

    A new bucket takes a walk over all of them, but new ones are few; a value that is too small to
    have a bucket of its own within the bound opens none.

    Args:
        sketch: What has been counted so far, at least one value.
        shares: The quantiles to know, each from 0 to 1.
    """

    __slots__ = ("_before", "_buckets", "_counts", "_places", "_shares", "count")

    def __init__(self, sketch: QuantileSketch, shares: tuple[float, ...]) -> None:
        below, above = sketch.below, sketch.above
        lows, highs = sorted(below, reverse=True), sorted(above)
        zeros = [sketch.zeros] if sketch.zeros else []
        buckets = [-_ORIGIN - each for each in lows]
        buckets += [0 for _ in zeros]
        buckets += [_ORIGIN + each for each in highs]
        self._buckets = array("i", buckets)
        self._counts = array("q", [*map(below.__getitem__, lows), *zeros])
        self._counts.extend(map(above.__getitem__, highs))
        self._shares = shares
        self.count = sum(self._counts)
        self._places: list[int] = []
        self._before: list[int] = []
        self._locate()

    def add(self, value: float) -> None:
        """Count one value, as :meth:`QuantileSketch.add` does."""
        if value > SMALLEST:
            bucket = _ORIGIN + ceil(log(value) * PER_LOG)
        elif value < -SMALLEST:
            bucket = -_ORIGIN - ceil(log(-value) * PER_LOG)
        else:
            bucket = 0
        buckets, counts = self._buckets, self._counts
        place = bisect_left(buckets, bucket)
        if place == len(buckets) or buckets[place] != bucket:
            place = self._open(place, bucket)
        counts[place] += 1
        last = self.count
        self.count = last + 1
        places, before = self._places, self._before
        for number, share in enumerate(self._shares):
            at, under = places[number], before[number]
            if place < at:
                under += 1
            rank = int(share * last)
            while rank < under:
                at -= 1
                under -= counts[at]
            while rank >= under + counts[at]:
                under += counts[at]
                at += 1
            places[number], before[number] = at, under

    def quantiles(self) -> list[float]:
        """What :meth:`QuantileSketch.quantiles` answers for the shares."""
        answers: list[float] = []
        for place in self._places:
            bucket = self._buckets[place]
            if bucket > 0:
                answers.append(middle(bucket - _ORIGIN))
            else:
                answers.append(-middle(-bucket - _ORIGIN) if bucket else 0.0)
        return answers

    def _open(self, place: int, bucket: int) -> int:
        """Put an empty ``bucket`` at ``place``; returns where its values are to be counted.

        Beyond the bound of a sign, the two buckets of its smallest magnitudes become one.
        """
        buckets, counts = self._buckets, self._counts
        if bucket > 0:
            lowest = bisect_right(buckets, 0)
            full, smaller = len(buckets) - lowest == MAX_BUCKETS, place == lowest
        else:
            lowest = bisect_left(buckets, 0) - 1
            full, smaller = bucket < 0 and lowest + 1 == MAX_BUCKETS, place > lowest
        if full and smaller:
            return lowest
        buckets.insert(place, bucket)
        counts.insert(place, 0)
        if full and bucket > 0:
            del buckets[lowest]
            counts[lowest] += counts.pop(lowest + 1)
            place -= 1
        elif full:
            del buckets[lowest + 1]
            counts[lowest] += counts.pop(lowest + 1)
        self._locate()
        return place

    def _locate(self) -> None:
        """Find the quantiles among the buckets."""
        seen = list(accumulate(self._counts, initial=0))
        last = self.count - 1
        self._places = [bisect_right(seen, int(share * last)) - 1 for share in self._shares]
        self._before = [seen[place] for place in self._places]

"""What some aggregates report together, told again after every value that the last of them gets.

To merge them takes time for each of them, and for each bucket of their quantiles.  Here that is
done once, and what a value changes is kept up: the quantiles by
:class:`~service.windows.ranks.Ranks`, mean and deviation from those of all that is folded in and
the few values that are not.  The arithmetic and its order are those of merging, and so is every
bit of the report.
"""

from array import array
from collections.abc import Iterable

from service.windows.aggregate import SHARES, Aggregate, Figures, Moments, added_up
from service.windows.ranks import Ranks


class Running:
    """Reports what ``closed`` and then ``last`` would, merged.

    A value costs the same however many aggregates, values and buckets there are.  What it reports
    is right while nothing is added to ``closed``, and to ``last`` only here.

    Args:
        closed: What has come before, in order; ``None`` if ``last`` reports by itself: merging it
            into nothing would round its figures once more.
        last: What gets values; with ``closed`` it has values that are folded in, or so many that
            merging would fold them in.
        first_ms: From when on ``closed`` has all that there is.

    Attributes:
        first_ms: As above.
    """

    __slots__ = (
        "_alone",
        "_base",
        "_before",
        "_folded_count",
        "_head",
        "_high",
        "_last",
        "_low",
        "_ranks",
        "first_ms",
    )

    def __init__(self, closed: Iterable[Aggregate] | None, last: Aggregate, first_ms: int) -> None:
        figures, head = added_up(closed or ())
        self._alone = closed is None
        self.first_ms = first_ms
        self._last = last
        self._before = self._base = Moments(figures.count, figures.mean, figures.m2)
        self._folded_count = 0  # values of the last one that are in the base
        self._head = head  # values that come before and are not in it
        if head:
            figures.count_in(head)
        if last.folded:
            figures.merge(Figures.decode(last.folded))
        if last.recent:
            figures.count_in(last.recent)
        self._low, self._high = figures.min, figures.max
        self._ranks = Ranks(figures.sketch, SHARES)

    def add(self, value: float) -> None:
        """Add ``value`` to the last one."""
        self._last.add(value)
        self._ranks.add(value)
        if value < self._low:
            self._low = value
        elif value > self._high:
            self._high = value

    @property
    def count(self) -> int:
        """Values so far."""
        return self._ranks.count

    def report(self) -> dict[str, float | int | None]:
        """See :meth:`Aggregate.report`."""
        last = self._last
        if last.folded_count != self._folded_count:
            self._fold()
        base = self._base
        moments = Moments(base.count, base.mean, base.m2)
        run = self._head + last.recent if self._head else last.recent
        if run:
            moments.add_run(run)
        return moments.report(self._low, self._high, self._ranks.quantiles())

    def _fold(self) -> None:
        """Take into the base what the last one has folded in, and what comes before it."""
        before = self._before
        if self._head:
            before.add_run(self._head)
            self._head = array("d")
        folded = Moments.decode(self._last.folded)
        self._folded_count = folded.count
        if self._alone:
            self._base = folded
            return
        self._base = Moments(before.count, before.mean, before.m2)
        self._base.combine(folded.count, folded.mean, folded.m2)

"""How much output may be under way in transactions, so that each of them ends in time.

What fails is done again.  Where a quota of the broker's lets only so much through, a transaction
that ran out of time would be as large again, and so on without end: the next ones are smaller.
Pure: no clock, no client.
"""

from typing import Final

SLOW: Final = 0.5
"""Part of the time that there is above which what goes through is not made more."""


class TransactionBound:
    """Halved when transactions run out of time, and raised by a quarter by each that is quick.

    Transactions of several partitions run side by side and share what the broker lets through, so
    there is one bound for all, and what fails together counts once.

    >>> bound = TransactionBound(1000, time_s=20.0)
    >>> bound.ran_out(600, began_s=0.0, now_s=20.0)
    >>> bound.ran_out(600, began_s=0.1, now_s=20.1)
    >>> bound.size_bytes
    300
    >>> bound.ended(300, took_s=12.0)
    >>> bound.size_bytes
    300
    >>> bound.ended(300, took_s=3.0)
    >>> bound.size_bytes
    376

    Args:
        max_bytes: The bound as long as all is well.
        time_s: What a transaction may take.

    Attributes:
        size_bytes: The bound.
    """

    def __init__(self, max_bytes: int, *, time_s: float) -> None:
        self.size_bytes = max_bytes
        self._max_bytes = max_bytes
        self._time_s = time_s
        self._lowered_at_s = float("-inf")

    @property
    def lowered(self) -> bool:
        """Whether it is less than it could be."""
        return self.size_bytes < self._max_bytes

    def ran_out(self, under_way_bytes: int, *, began_s: float, now_s: float) -> None:
        """A transaction ran out of time.

        Args:
            under_way_bytes: Size of all transactions that were under way with it.
            began_s: When it began.
            now_s: Now, by the same clock.
        """
        if began_s >= self._lowered_at_s:
            self.size_bytes = max(1, min(self.size_bytes, under_way_bytes) // 2)
            self._lowered_at_s = now_s

    def ended(self, under_way_bytes: int, *, took_s: float) -> None:
        """A transaction was committed.

        Args:
            under_way_bytes: Size of all transactions that were under way with it: where that is
                far from the bound, nothing is known of what is more.
            took_s: What it took.
        """
        if took_s < SLOW * self._time_s and 2 * under_way_bytes >= self.size_bytes:
            self.size_bytes = min(self._max_bytes, self.size_bytes * 5 // 4 + 1)

"""Until when a partition of a delay topic is not read: its next record is not due.

Pure: no client, no clock.
"""

from collections.abc import Sequence
from typing import Final

from service.delivery.delays import not_before_ms
from service.events import Record

MAX_HOLD_S: Final = 60.0
"""Longest time between two looks at a record that is not due, whatever the clocks say."""


class Hold:
    """What keeps one assignment of a partition from being read.

    Attributes:
        until_s: ``loop.time()`` before which nothing is read.
    """

    __slots__ = ("_newest", "_seen_at_s", "until_s")

    def __init__(self) -> None:
        self.until_s = 0.0
        self._newest = -1
        self._seen_at_s = 0.0

    def due(
        self,
        records: Sequence[Record],
        newest: int,
        *,
        delay_s: float,
        now_ms: int,
        now_s: float,
    ) -> int:
        """How many of ``records`` may be tried again by now; holds the partition for the rest.

        None waits longer than its topic says, counted from when it was first seen there: stamped
        by a clock that was wrong, it and all that is behind it might have to wait for years.

        Args:
            records: The next ones.
            newest: Offset of the last that has been seen, of these or behind them.
            delay_s: What the topic says.
            now_ms: Now, in milliseconds since the Unix epoch.
            now_s: ``loop.time()``.
        """
        for index, record in enumerate(records):
            wait_s = (not_before_ms(record.headers) - now_ms) / 1000
            if wait_s > 0:
                if record.offset > self._newest:
                    self._newest, self._seen_at_s = newest, now_s
                wait_s = min(wait_s, self._seen_at_s + delay_s - now_s)
            if wait_s > 0:
                self.until_s = now_s + min(wait_s, MAX_HOLD_S)
                return index
        return len(records)

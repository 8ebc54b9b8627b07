"""How far event time has come in one partition.

The watermark says that nothing older is expected: it is the newest timestamp seen, less the
lateness that is allowed.  It never goes back.  A partition in which nothing happens would stop
its own time, so after a while without events the watermark goes on with the wall clock, and
windows close although nothing more comes.
"""

from typing import Final

BEFORE_ALL_MS: Final = -(2**62)
"""The watermark of a partition that has seen nothing."""


class Watermark:
    """The event time of one partition.

    Args:
        lateness_ms: How much older than the newest an event may be and still be in time.
        idle_s: Seconds without an event until the wall clock takes over.
        now_s: The clock's reading now; any monotonic clock.

    Attributes:
        heard_at_s: The clock's reading at the last event.
        newest_ms: Newest timestamp seen, or where the wall clock has taken it.
        at_ms: The watermark: windows that end at or before it are finished.
    """

    __slots__ = ("_idle_s", "_lateness_ms", "_seen_ms", "at_ms", "heard_at_s", "newest_ms")

    def __init__(self, *, lateness_ms: int, idle_s: float, now_s: float) -> None:
        self._lateness_ms = lateness_ms
        self._idle_s = idle_s
        self.heard_at_s = now_s
        self._seen_ms = BEFORE_ALL_MS
        self.newest_ms = BEFORE_ALL_MS
        self.at_ms = BEFORE_ALL_MS

    def observe(self, timestamp_ms: int, now_s: float) -> bool:
        """An event came; returns whether the watermark moved."""
        self.heard_at_s = now_s
        self._seen_ms = max(self._seen_ms, timestamp_ms)
        return self._advance(timestamp_ms)

    def pass_time(self, now_s: float) -> bool:
        """Time has passed; returns whether the watermark moved.

        Nothing happens before ``idle_s`` without an event.  From then on the newest event is
        taken to be as old as the silence is long.
        """
        silent_s = now_s - self.heard_at_s
        if silent_s < self._idle_s or self._seen_ms == BEFORE_ALL_MS:
            return False
        return self._advance(self._seen_ms + int(silent_s * 1000))

    def restore(self, newest_ms: int, now_s: float) -> None:
        """Continue where an earlier owner of the partition was."""
        self.heard_at_s = now_s
        self._seen_ms = max(self._seen_ms, newest_ms)
        self._advance(newest_ms)

    def _advance(self, newest_ms: int) -> bool:
        if newest_ms <= self.newest_ms:
            return False
        self.newest_ms = newest_ms
        self.at_ms = newest_ms - self._lateness_ms
        return True

"""The only place that reads the wall clock.

Deadlines and durations use the event loop's monotonic ``loop.time()``.  Wall-clock stamps go
into records and logs, are never compared with each other, and come from here, so that tests
can replace them.
"""

import time


def wall_clock_s() -> float:
    """Seconds since the Unix epoch, for stamps only."""
    return time.time()  # noqa: TID251 -- the one allowed caller


def wall_clock_ms() -> int:
    """Milliseconds since the Unix epoch, as Kafka stamps records."""
    return int(wall_clock_s() * 1000)

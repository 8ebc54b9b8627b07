"""The two clocks: the event loop's for deadlines and durations, the wall's for stamps.

Nothing else reads the wall clock.  Its stamps go into records and logs, are never compared with
each other, and come from here, so that tests can replace them.
"""

import asyncio
import time
from typing import Final

LATEST_MS: Final = 253_402_300_799_999
"""The end of year 9999, where ``datetime`` and ISO 8601 with four digits end.

A time beyond it is one in microseconds or nanoseconds, and would end every window for good.
"""


def loop_time_s() -> float:
    """What the running event loop's clock says; it never goes back, and its 0 means nothing."""
    return asyncio.get_running_loop().time()


def wall_clock_s() -> float:
    """Seconds since the Unix epoch, for stamps only."""
    return time.time()  # noqa: TID251 -- the one allowed caller


def wall_clock_ms() -> int:
    """Milliseconds since the Unix epoch, as Kafka stamps records."""
    return int(wall_clock_s() * 1000)

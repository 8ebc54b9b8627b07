"""Keeps Python's cycle collector out of the way of records.

A record in memory is a few objects that the collector has to look at, and none of them is ever
part of a cycle.  With the default thresholds, a backlog makes it walk everything that is alive
several times a second, which was measured at a quarter to a half of all processor time.  What
exists after start-up is taken out of its sight, and it looks rarely; reference counting frees
records as before.
"""

import gc
from typing import Final

THRESHOLDS: Final = (100_000, 50, 100)
"""Allocations between young collections, and how many of each generation before the next."""


def calm_collector() -> None:
    """Call once, when everything that lives as long as the process has been made."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)

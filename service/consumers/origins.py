"""Where records are said to come from whose source has neither partitions nor offsets.

Results are identified by partition and offset, so these must not come again, neither after a
restart nor in another process: the partition is drawn at random, and offsets count up from the
time.
"""

import random

from service.clock import wall_clock_s


def new_origin() -> tuple[int, int]:
    """A partition, and the offset of its first record."""
    return random.getrandbits(31), int(wall_clock_s() * 1e6)

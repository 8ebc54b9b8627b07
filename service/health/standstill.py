"""For how long the record in front of each partition has been the same one.

A record that is old is not in the way by that: behind a backlog in memory every record is old by
the time it is done, while the commits move on all the time.
"""

import math
from collections.abc import Hashable
from typing import Final

UNKNOWN_S: Final = math.inf
"""Where nobody has looked before."""


class Standstill:
    """Remembers the front of each partition from one look to the next.  Pure: no clock.

    >>> standstill = Standstill()
    >>> standstill.look("logs.raw/3", 302, now_s=10.0)
    inf
    >>> standstill.look("logs.raw/3", 302, now_s=11.0)
    inf
    >>> standstill.look("logs.raw/3", 303, now_s=12.0)
    0.0
    >>> standstill.look("logs.raw/3", 303, now_s=18.0)
    6.0
    """

    def __init__(self) -> None:
        self._seen: dict[Hashable, tuple[int | None, float]] = {}

    def look(self, partition: Hashable, front: int | None, now_s: float) -> float:
        """For how long ``front`` has been in front, in seconds; no finer than looks come.

        Args:
            partition: Which one.
            front: Its lowest offset that is not done; ``None`` if all is.
            now_s: A monotonic clock, never less than in the call before.
        """
        seen = self._seen.get(partition)
        if seen is None or seen[0] != front:
            seen = self._seen[partition] = (front, -UNKNOWN_S if seen is None else now_s)
        return now_s - seen[1]

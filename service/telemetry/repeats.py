"""Keeps a library that says the same over and over from filling the log.

The Kafka client tries some things again without a pause, a stored batch whose length is damaged
for one, and logs each time: everything else is lost in that.  What a handler of the user's logs is
never held back.
"""

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

BURST: Final = 10
"""Lines of one place in a library's code that are written in one period."""
PERIOD_S: Final = 10.0

Place = tuple[str, int]


class RepeatFilter(logging.Filter):
    """Passes the first :data:`BURST` lines of a place in a library's code in each period.

    The first line of the next period has ``unwritten``, how many were left out before it.

    Args:
        libraries: First parts of the names of their loggers.
        clock: Seconds that only go forward.
    """

    def __init__(
        self, libraries: Collection[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._libraries = frozenset(libraries)
        self._clock = clock
        # Bounded by the places that there are in the code.
        self._seen: dict[Place, _Seen] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether ``record`` is to be written.  Called in any thread."""
        if record.name.partition(".")[0] not in self._libraries:
            return True
        place = (record.pathname, record.lineno)
        now_s = self._clock()
        seen = self._seen.get(place)
        if seen is None or now_s - seen.since_s >= PERIOD_S:
            record.unwritten = 0 if seen is None else max(0, seen.count - BURST)
            self._seen[place] = _Seen(now_s)
            return True
        seen.count += 1
        return seen.count <= BURST


class _Seen:
    """What one place has said in the present period."""

    __slots__ = ("count", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        self.count = 1

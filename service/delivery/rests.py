"""How long something rests after it has failed, longer each time.

Where the reason of a failure stays (an output topic that is not there, or forbidden), trying again
ten times a second would keep the process from everything else.
"""

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)


class _Rest(NamedTuple):
    until_s: float
    length_s: float


class Rests(Generic[K]):
    """Knows what is at rest.  Pure: it is told the time.

    Args:
        first_s: The first rest.
        max_s: The longest; each is twice as long as the one before.
    """

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s = first_s
        self._max_s = max_s
        self._rests: dict[K, _Rest] = {}

    def failed(self, key: K, now_s: float) -> None:
        """It has failed and rests; what was under way when the last rest began does not count."""
        last = self._rests.get(key)
        if last is not None and now_s < last.until_s:
            return
        length_s = self._first_s if last is None else min(self._max_s, 2 * last.length_s)
        self._rests[key] = _Rest(now_s + length_s, length_s)

    def worked(self, key: K) -> None:
        """It has worked: the next rest is the first one again."""
        if self._rests:
            self._rests.pop(key, None)

    def resting(self, key: K, now_s: float) -> bool:
        """Whether it is not to be tried yet."""
        rest = self._rests.get(key)
        return rest is not None and now_s < rest.until_s

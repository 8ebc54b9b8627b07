"""How long a partition rests after its transaction has failed, longer each time.

A failed transaction is done again by a new producer, with all that the partition has read since
the last one.  Where the reason stays (an output topic that is not there, or forbidden), doing so
ten times a second would keep the process from everything else.
"""

from typing import Final, NamedTuple

from service.consumers.base import TopicPartition

REST_FIRST_S: Final = 0.1
REST_MAX_S: Final = 5.0


class _Rest(NamedTuple):
    until_s: float
    length_s: float


class Patience:
    """Knows which partitions are at rest.  Pure: it is told the time."""

    def __init__(self) -> None:
        self._rests: dict[TopicPartition, _Rest] = {}

    def failed(self, name: TopicPartition, now_s: float) -> None:
        """A transaction has failed: the partition rests, at first so that nobody notices."""
        last = self._rests.get(name)
        length_s = REST_FIRST_S if last is None else min(REST_MAX_S, 2 * last.length_s)
        self._rests[name] = _Rest(now_s + length_s, length_s)

    def worked(self, name: TopicPartition) -> None:
        """A transaction was committed."""
        if self._rests:
            self._rests.pop(name, None)

    def rests(self, name: TopicPartition, now_s: float) -> bool:
        """Whether the partition is not to be opened yet."""
        rest = self._rests.get(name)
        return rest is not None and now_s < rest.until_s

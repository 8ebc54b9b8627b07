"""Which keys are due, when every key has the same time: the deadlines behind ``tick``.

Deadlines are kept in the order in which they were set, so setting, clearing and finding the due
ones cost O(1) each.  What is kept here is rebuilt from the state when a partition is assigned.
"""

from collections.abc import Iterable
from itertools import islice, takewhile
from typing import NamedTuple

from service.state.keyed import Partition, PartitionId, Place


class Due(NamedTuple):
    """A key whose time has come."""

    partition: Partition
    key: str


class Deadlines:
    """When each key is due, ``patience_s`` after it was started.

    Not :class:`~service.handlers.timers.KeyTimers`, each of which is set to a moment of its own.

    Args:
        patience_s: Seconds from :meth:`start` until a key is due.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._due_at_s: dict[PartitionId, dict[str, float]] = {}

    def start(self, place: Place, key: str, now_s: float) -> None:
        """Let ``key`` be due ``patience_s`` from now, whatever was left until then."""
        self.start_many(place, (key,), now_s)

    def start_many(self, place: Place, keys: Iterable[str], now_s: float) -> None:
        """:meth:`start` for each of ``keys``."""
        deadlines = self._due_at_s.setdefault((place.topic, place.partition), {})
        due_at_s = now_s + self._patience_s
        take = deadlines.pop
        for key in keys:
            take(key, None)  # so that it moves to the end: dictionaries keep insertion order
            deadlines[key] = due_at_s
        self._forget_if_empty((place.topic, place.partition))

    def running(self, place: Place, key: str) -> bool:
        """Whether ``key`` has a deadline."""
        return key in self._due_at_s.get((place.topic, place.partition), ())

    def clear(self, place: Place, key: str) -> None:
        """Forget the deadline of ``key``, if it has one."""
        self._due_at_s.get((place.topic, place.partition), {}).pop(key, None)
        self._forget_if_empty((place.topic, place.partition))

    def forget(self, topic: str, partition: int) -> None:
        """Forget every deadline of a partition."""
        self._due_at_s.pop((topic, partition), None)

    def due(self, now_s: float, most: int) -> list[Due]:
        """Up to ``most`` of the keys that are due; their deadlines are forgotten.

        The oldest of a partition come first.
        """
        due: list[Due] = []
        for partition, deadlines in self._due_at_s.items():
            # One walk, then the removals: a look at the first key walks over those removed before.
            passed = takewhile(lambda deadline: deadline[1] <= now_s, deadlines.items())
            keys = [key for key, _ in islice(passed, most - len(due))]
            for key in keys:
                del deadlines[key]
            place = Partition(*partition)
            due.extend(Due(place, key) for key in keys)
        for place in {place for place, _ in due}:
            self._forget_if_empty(place)
        return due

    def _forget_if_empty(self, partition: PartitionId) -> None:
        """A partition may be a connection that is gone."""
        if not self._due_at_s.get(partition, True):
            del self._due_at_s[partition]

"""Which keys are due, when every key has the same patience: the timers behind ``tick``.

Deadlines are kept in the order in which they were set, so setting, clearing and finding the due
ones cost O(1) each.  What is kept here is rebuilt from the state when a partition is assigned.
"""

from collections.abc import Iterator
from typing import NamedTuple

from service.handlers.state import Partition, Place


class Due(NamedTuple):
    """A key whose time has come."""

    partition: Partition
    key: str


class Timers:
    """Deadlines by key, all ``patience_s`` after they were set.

    Args:
        patience_s: Seconds from :meth:`start` until a key is due.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._due_at_s: dict[tuple[str, int, str], float] = {}

    def start(self, place: Place, key: str, now_s: float) -> None:
        """Give ``key`` its whole patience from now on, whatever was left of it."""
        at = (place.topic, place.partition, key)
        self._due_at_s.pop(at, None)
        self._due_at_s[at] = now_s + self._patience_s

    def running(self, place: Place, key: str) -> bool:
        """Whether ``key`` has a deadline."""
        return (place.topic, place.partition, key) in self._due_at_s

    def clear(self, place: Place, key: str) -> None:
        """Forget the deadline of ``key``, if it has one."""
        self._due_at_s.pop((place.topic, place.partition, key), None)

    def forget(self, topic: str, partition: int) -> None:
        """Forget every deadline of a partition."""
        for at in [at for at in self._due_at_s if at[:2] == (topic, partition)]:
            del self._due_at_s[at]

    def due(self, now_s: float) -> Iterator[Due]:
        """The keys that are due, oldest first; their deadlines are forgotten."""
        while self._due_at_s:
            at = next(iter(self._due_at_s))
            if self._due_at_s[at] > now_s:
                return
            del self._due_at_s[at]
            topic, partition, key = at
            yield Due(Partition(topic, partition), key)

"""Which input topics the broker lets nobody of ours read, and when each is tried again.

Pure: no client, no clock.  A right is one for a whole topic, so its partitions wait together, and
the source's other topics go on beside them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from service.consumers.base import TopicPartition

REST_FIRST_S: Final = 1.0
REST_MAX_S: Final = 30.0
"""Longest wait before a topic is tried again, and so what a right takes to be noticed."""
BELIEVED_S: Final = 3.0
"""A topic that was tried and is not refused for so long may be read: brokers keep an answer for
half a second, and one without records says nothing."""


@dataclass(slots=True)
class _Refusal:
    length_s: float
    until_s: float
    tried: bool = False
    told: bool = False
    measured: bool = False
    ends: Mapping[TopicPartition, int] = field(default_factory=dict[TopicPartition, int])


class Refusals:
    """What one member is refused.  Told the time in ``loop.time()`` seconds.

    >>> refusals = Refusals()
    >>> refusals.refused("orders", 10.0), refusals.refused("orders", 10.1)
    (True, False)
    >>> refusals.due(10.9), refusals.resting("orders")
    ([], True)
    >>> refusals.due(11.0), refusals.resting("orders")
    (['orders'], False)
    >>> refusals.over(13.9), refusals.over(14.0), "orders" in refusals
    ([], ['orders'], False)
    """

    def __init__(self) -> None:
        self._topics: dict[str, _Refusal] = {}

    def __bool__(self) -> bool:
        return bool(self._topics)

    def __contains__(self, topic: str) -> bool:
        return topic in self._topics

    def refused(self, topic: str, now_s: float) -> bool:
        """A topic was refused and rests, twice as long each time; whether that is news."""
        known = self._topics.get(topic)
        if known is None:
            self._topics[topic] = _Refusal(REST_FIRST_S, now_s + REST_FIRST_S)
        elif known.tried:
            known.length_s = min(REST_MAX_S, 2 * known.length_s)
            known.until_s, known.tried, known.measured = now_s + known.length_s, False, False
        return known is None

    def news(self) -> list[str]:
        """Topics that are refused and were not before; each is told once."""
        news = [topic for topic, known in self._topics.items() if not known.told]
        for topic in news:
            self._topics[topic].told = True
        return news

    def resting(self, topic: str) -> bool:
        """Whether a topic was refused and :meth:`due` has not told it since."""
        known = self._topics.get(topic)
        return known is not None and not known.tried

    def due(self, now_s: float) -> list[str]:
        """Topics to be tried again; each is told once.  What was dropped meanwhile is read anew."""
        due = [
            topic
            for topic, known in self._topics.items()
            if not known.tried and now_s >= known.until_s
        ]
        for topic in due:
            self._topics[topic].tried = True
        return due

    def over(self, now_s: float) -> list[str]:
        """Topics that were tried and are not refused any more; each is told once."""
        over = [
            topic
            for topic, known in self._topics.items()
            if known.tried and now_s >= known.until_s + BELIEVED_S
        ]
        for topic in over:
            del self._topics[topic]
        return over

    def read(self, topic: str) -> bool:
        """Something of a topic was read; whether that ends a refusal."""
        known = self._topics.get(topic)
        if known is None or not known.tried:
            return False
        del self._topics[topic]
        return True

    def unmeasured(self) -> list[str]:
        """Topics whose ends are to be asked for; each is told once for each refusal."""
        unmeasured = [topic for topic, known in self._topics.items() if not known.measured]
        for topic in unmeasured:
            self._topics[topic].measured = True
        return unmeasured

    def ends_are(self, topic: str, ends: Mapping[TopicPartition, int]) -> None:
        """What could be read of a topic ends there; for its lag, which no fetch tells."""
        if topic in self._topics:
            self._topics[topic].ends = ends

    def end(self, name: TopicPartition) -> int | None:
        """The end of a partition of a refused topic, if it is known."""
        known = self._topics.get(name.topic)
        return None if known is None else known.ends.get(name)

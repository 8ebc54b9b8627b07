"""Which output topics the present producer may be given batches for.

A batch that the client has cannot be taken back, and for a partition that is not there it waits
for ever; a question for a topic that is not there takes seconds.  So neither is done where all
topics are sent to: what is for a topic in trouble stays where it is, and the others go on.
"""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from service.delivery.backoff import Backoff
from service.delivery.rests import Rests
from service.errors import BrokerUnavailableError
from service.publishers.base import ProducerClient

log = structlog.get_logger(__name__)

LOOK_FIRST_S: Final = 0.2
LOOK_MAX_S: Final = 5.0
REFUSED_FIRST_S: Final = 0.2
REFUSED_MAX_S: Final = 30.0
"""Longest pause of a topic that refuses what it gets, each time at the price of the producer."""


class Availability:
    """Knows of topics by the present producer, and of refusals by all that there were.

    Args:
        fits: Whether a batch for a partition of a topic may be sent, given how many partitions
            the brokers say that the topic has.
        changed: Called when one more topic is available.
    """

    def __init__(
        self, fits: Callable[[str, int, int], bool], changed: Callable[[], object]
    ) -> None:
        self._fits = fits
        self._changed = changed
        self._producer: ProducerClient | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._looking: dict[str, asyncio.Task[None]] = {}
        self._refused = Rests[str](REFUSED_FIRST_S, REFUSED_MAX_S)

    def begin(self, producer: ProducerClient, tasks: asyncio.TaskGroup) -> None:
        """From now on ``producer`` sends; it has not heard of any topic."""
        self._producer = producer
        self._tasks = tasks
        self._looking = {}

    def end(self) -> None:
        """Look for nothing any more; what the producer has by now is still asked for."""
        self._tasks = None
        for looking in self._looking.values():
            looking.cancel()

    def takes(self, topic: str, partition: int) -> bool:
        """Whether a batch may be given to the producer now; looks for the topic if it is unknown.

        To be asked again in a while, or when there was a change.
        """
        if self._refused.resting(topic, asyncio.get_running_loop().time()):
            return False
        if self.there(topic, partition):
            return True
        producer, tasks = self._producer, self._tasks
        if (
            producer is not None
            and tasks is not None
            and topic not in self._looking
            and producer.partitions(topic) is None
        ):
            looking = self._look(producer, topic)
            self._looking[topic] = tasks.create_task(looking, name=f"look for {topic}")
        return False

    def there(self, topic: str, partition: int) -> bool:
        """Whether the topic is there, as we know it, by what the brokers told last."""
        count = None if self._producer is None else self._producer.partitions(topic)
        return count is not None and self._fits(topic, partition, count)

    async def _look(self, producer: ProducerClient, topic: str) -> None:
        backoff = Backoff(initial_s=LOOK_FIRST_S, max_s=LOOK_MAX_S)
        while True:
            try:
                await producer.find(topic)
                break
            except BrokerUnavailableError as exc:
                log.warning("output topic unknown", topic=topic, error=str(exc))
            await asyncio.sleep(backoff.next_s())
        del self._looking[topic]
        self._changed()

    def refused(self, topic: str) -> None:
        """``topic`` has refused a batch; the next one waits, longer each time."""
        self._refused.failed(topic, asyncio.get_running_loop().time())

    def stored(self, topic: str) -> None:
        """``topic`` has taken a batch."""
        self._refused.worked(topic)

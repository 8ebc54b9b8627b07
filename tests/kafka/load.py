"""Log events at a steady rate, for as long as a test does things to the service or to Kafka."""

import asyncio
import math

import orjson

from tests.kafka.client import Kafka

KEYS = 200
_PAUSE_S = 0.05


class SteadyLoad:
    """Writes log events, each of which becomes an alert, numbered from zero in ``message``.

    Args:
        kafka: Writes them; each is acknowledged before the next.
        topic: Where they go.
        rate: How many a second.  What was held up is caught up on.
    """

    def __init__(self, kafka: Kafka, topic: str, rate: int) -> None:
        self._kafka, self._topic, self._rate = kafka, topic, rate
        self._over = asyncio.Event()
        self.sent = 0

    def stop(self) -> None:
        """Have :meth:`run` return."""
        self._over.set()

    async def run(self) -> None:
        """Write until it is stopped."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        while not self._over.is_set():
            due = math.ceil((loop.time() - began_s) * self._rate)
            numbers = range(self.sent, max(due, self.sent))
            await self._kafka.produce(self._topic, map(_record, numbers))
            self.sent = numbers.stop
            await asyncio.sleep(_PAUSE_S)


def _record(number: int) -> tuple[bytes, bytes]:
    return b"key-%d" % (number % KEYS), orjson.dumps({"level": "ERROR", "message": str(number)})

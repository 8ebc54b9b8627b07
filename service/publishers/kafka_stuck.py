"""Has the producer lost its way to brokers that a new one would reach?

The client looks for brokers only where it last saw them.  When all of them have moved, it retries
for ever, and nothing of it ends.  But a producer is not replaced lightly: what it has on the wire
may be stored already, and another one would store it once more.  So a request that stays
unanswered is not enough; a second producer has to connect first, and the first one still not get
an answer after that, to whatever it has asked.  One that gets answers has not lost its way, and a
new one would not help a topic that takes nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from service.errors import ServiceError
from service.events import Permission
from service.publishers.base import ProducerClient, ProduceUnknownError
from service.publishers.output import OutputPartition, Sealed
from service.publishers.runs import permission_of

log = structlog.get_logger(__name__)

LOOK_S: Final = 5.0
STUCK_S: Final = 40.0
"""Longest wait for an answer before another way is tried."""
GRACE_S: Final = 10.0
"""What the client then has to find its own way: brokers that are just back answer both."""
STOP_TIMEOUT_S: Final = 1.0


class StuckWatch:
    """Watches the requests of one producer after the other.

    Args:
        make_producer: Builds a producer to try another way with.
        outputs: Gives what may have a request on the wire.
        heard_s: Gives ``loop.time()`` of the last answer of a broker to the producer.
    """

    def __init__(
        self,
        make_producer: Callable[[], ProducerClient],
        outputs: Callable[[], Sequence[OutputPartition]],
        heard_s: Callable[[], float],
    ) -> None:
        self._make_producer = make_producer
        self._outputs = outputs
        self._heard_s = heard_s

    async def run(self) -> None:
        """Raise when the producer has to be replaced.

        Raises:
            ProduceUnknownError: If its requests stay unanswered although brokers can be reached.
        """
        while True:
            await asyncio.sleep(LOOK_S)
            stuck = self._stuck()
            if stuck and await self._reachable():
                heard_s = self._heard_s()
                await asyncio.sleep(GRACE_S)
                if heard_s == self._heard_s() and any(
                    output.on_wire is sealed for output, sealed in stuck
                ):
                    raise ProduceUnknownError("brokers answer, but not to this producer")

    def _stuck(self) -> list[tuple[OutputPartition, Sealed]]:
        """What is on the wire for long, and not because it has to wait for its owner."""
        now_s = asyncio.get_running_loop().time()
        if now_s - self._heard_s() <= STUCK_S:
            return []
        return [
            (output, sealed)
            for output in self._outputs()
            if (sealed := output.on_wire) is not None
            and now_s - output.sent_at_s > STUCK_S
            and permission_of(sealed.runs) is Permission.GO
        ]

    async def _reachable(self) -> bool:
        """Whether a new producer connects."""
        try:
            producer = self._make_producer()
            try:
                await producer.start()
            finally:
                await producer.stop(STOP_TIMEOUT_S)
        except (ServiceError, OSError) as exc:
            log.info("no way to a broker", error=str(exc))
            return False
        return True

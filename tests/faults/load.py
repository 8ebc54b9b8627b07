"""What goes on in Kafka beside the service: records going in, offsets being watched.

Both use the broker directly, never the proxy, and live through whatever is done to the broker.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from service.clock import wall_clock_ms
from tests.faults.observed import Sample, Stored
from tests.faults.workload import Workload

SAMPLE_S = 0.05
_TICK_S = 0.02
_ASK_S = 2.0
_UNSENT_MAX = 20_000
_BROKER = 1  # the node id of the only broker


class Feeder:
    """Writes the workload's records, number after number, until told to stop.

    Args:
        bootstrap: The broker.
        topic: Input topic.
        workload: What to write.
        rate: Records per second.

    Attributes:
        acknowledged: Records that the broker has stored, by number.
    """

    def __init__(self, bootstrap: str, topic: str, workload: Workload, *, rate: int) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._workload = workload
        self._rate = rate
        self._next = 0
        self._unsent = 0
        self._stopping = asyncio.Event()
        self.acknowledged: dict[int, Stored] = {}

    def stop(self) -> None:
        """Write no more; `run` returns when all of it is acknowledged."""
        self._stopping.set()

    async def run(self, preload: int, loaded: asyncio.Event) -> None:
        """Write ``preload`` records at once, set ``loaded``, and go on at the rate."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap, acks="all", enable_idempotence=True, linger_ms=5
        )
        # Or they expire while a broker takes its time to come back, and leave a gap.
        producer._message_accumulator._batch_ttl = float("inf")
        await producer.start()
        try:
            for _ in range(preload):
                await self._write(producer)
            await self._acknowledgement()
            loaded.set()
            began_s, written = _now(), 0
            while not self._stopping.is_set():
                for _ in range(min(int((_now() - began_s) * self._rate) - written, _UNSENT_MAX)):
                    await self._write(producer)
                    written += 1
                await asyncio.sleep(_TICK_S)
            await self._acknowledgement()
        finally:
            with contextlib.suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(_ASK_S):
                    await producer.stop()

    async def _acknowledgement(self) -> None:
        """Of everything that was sent."""
        while self._unsent:
            await asyncio.sleep(_TICK_S)

    async def _write(self, producer: Any) -> None:
        while self._unsent >= _UNSENT_MAX:
            await asyncio.sleep(_TICK_S)
        number, self._next = self._next, self._next + 1
        key, value, at_ms = (
            self._workload.key(number),
            self._workload.value(number),
            wall_clock_ms(),
        )
        future: asyncio.Future[Any] | None = None
        while future is None:
            try:
                future = await producer.send(self._topic, key=key, value=value, timestamp_ms=at_ms)
            except KafkaError:  # no room while the broker is away: nothing was queued
                await asyncio.sleep(_TICK_S)
        self._unsent += 1

        def done(answer: "asyncio.Future[Any]") -> None:
            self._unsent -= 1
            if not answer.cancelled() and answer.exception() is None:
                stored = answer.result()
                self.acknowledged[number] = Stored(
                    self._topic, stored.partition, stored.offset, at_ms, key, value
                )

        future.add_done_callback(done)


class Sampler:
    """Looks at committed offsets, and right after that at the ends of the output topics.

    Args:
        bootstrap: The broker.
        group: Consumer group.
        source: Input topic.
        watched: Output topics.
        partitions: Of each topic.
        seen: Called with every sample.

    Attributes:
        latest: The last sample.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        group: str,
        source: str,
        watched: tuple[str, ...],
        partitions: int,
        seen: Callable[[Sample], None],
    ) -> None:
        self._bootstrap = bootstrap
        self._group = group
        self._source = source
        self._ends = [TopicPartition(t, n) for t in watched for n in range(partitions)]
        self._seen = seen
        self.latest = Sample(0, {}, {})

    @property
    def outputs(self) -> int:
        """Records in the output topics, at the last look."""
        return sum(self.latest.ends.values())

    @property
    def committed(self) -> int:
        """Sum of the committed offsets, at the last look."""
        return sum(self.latest.committed.values())

    async def run(self) -> None:
        """Look every 50 ms, as far as the broker answers, until cancelled."""
        while True:
            admin = AIOKafkaAdminClient(
                bootstrap_servers=self._bootstrap, request_timeout_ms=int(_ASK_S * 1000)
            )
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap, request_timeout_ms=int(_ASK_S * 1000)
            )
            try:
                async with asyncio.timeout(3 * _ASK_S):
                    await admin.start()
                    await consumer.start()
                while True:
                    began_s = _now()
                    async with asyncio.timeout(_ASK_S):
                        await self._look(admin, consumer)
                    await asyncio.sleep(max(0.0, SAMPLE_S - (_now() - began_s)))
            except (KafkaError, TimeoutError, OSError):
                await asyncio.sleep(SAMPLE_S)
            finally:
                for client in (consumer.stop, admin.close):
                    with contextlib.suppress(KafkaError, TimeoutError, OSError):
                        async with asyncio.timeout(_ASK_S):
                            await client()

    async def _look(self, admin: Any, consumer: Any) -> None:
        offsets = await admin.list_consumer_group_offsets(self._group, group_coordinator_id=_BROKER)
        ends = await consumer.end_offsets(self._ends)
        self.latest = Sample(
            wall_clock_ms(),
            {
                at.partition: found.offset
                for at, found in offsets.items()
                if at.topic == self._source and found.offset >= 0
            },
            {(at.topic, at.partition): end for at, end in ends.items()},
        )
        self._seen(self.latest)


def _now() -> float:
    return asyncio.get_running_loop().time()

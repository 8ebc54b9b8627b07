"""The whole service in memory: send events, let time pass, look at what came out.

The pipelines are the real ones, from the channel to the commit; only Kafka is replaced, by a
`MemoryBroker`.  On a loop in virtual time nothing waits: minutes of retries take milliseconds.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, TypeAlias

import orjson

from service.app.application import Application
from service.app.changelogs import changelog_topics
from service.app.handler_life import TICK_S
from service.app.report import ExitReport
from service.consumers.base import ConsumerClient
from service.events import Headers
from service.handlers.spec import SPEC_ATTRIBUTE, HandlerSpec, registered
from service.publishers.base import ProducerClient, TransactionalClient
from service.settings import build_settings
from service.state.restore import ChangelogReader
from service.testing.broker import BrokerRecord, MemoryBroker
from service.testing.broker_changelogs import MemoryChangelogs
from service.testing.broker_clients import MemoryConsumer, MemoryProducer
from service.testing.broker_transactions import MemoryTransactions
from service.testing.virtual_time import VirtualTimeLoop, virtual_loop

SentHeaders: TypeAlias = Mapping[str, bytes | str] | Sequence[tuple[str, bytes | str]]
"""The headers of an event that a test sends."""

INPUT: Final = "input"
OUTPUT: Final = "output"
DEAD_LETTERS: Final = "dead"
GROUP: Final = "test"
SETTLE_TIMEOUT_S: Final = 600.0
"""Longest wait of :meth:`Harness.settle`, by the loop's clock."""
_POLL_S: Final = 0.01


class DeadLetter(NamedTuple):
    """A record in a dead-letter topic: what came in, and what was wrong with it."""

    code: str
    detail: str
    key: bytes | None
    value: bytes | None
    record: BrokerRecord


class MemoryBrokers:
    """Makes clients of one broker in memory, and remembers them for fault injection."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.consumers: list[MemoryConsumer] = []
        self.producers: list[MemoryProducer] = []

    def consumer(
        self, topics: Sequence[str], group_id: str, instance_id: str | None
    ) -> ConsumerClient:
        """See :class:`service.app.brokers.Brokers`."""
        del instance_id
        self.consumers.append(MemoryConsumer(self.broker, topics, group_id))
        return self.consumers[-1]

    def producer(self) -> ProducerClient:
        """See :class:`service.app.brokers.Brokers`."""
        self.producers.append(MemoryProducer(self.broker))
        return self.producers[-1]

    def transactional(self, transactional_id: str) -> TransactionalClient:
        """See :class:`service.app.brokers.Brokers`."""
        producer = MemoryTransactions(self.broker, transactional_id)
        self.producers.append(producer)
        return producer

    def changelogs(self) -> ChangelogReader:
        """See :class:`service.app.brokers.Brokers`."""
        return MemoryChangelogs(self.broker)


class Harness(AbstractAsyncContextManager["Harness"]):
    """One running service on a broker in memory; use it as an async context manager.

    Leaving the block drains the service as SIGTERM would.

    Args:
        config: The configuration, as YAML would hold it and by the same rules; see
            :func:`pipeline_of`.
        broker: A broker to share with another harness, as another member of the group.
        partitions: Partitions of the topics that are made.

    Attributes:
        broker: Topics, records, commits and faults.
        brokers: The clients that the service has made.
        application: The service itself.
        report: What was left when it had drained.

    Raises:
        ConfigurationError: If the service would refuse the configuration.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        broker: MemoryBroker | None = None,
        partitions: int = 1,
    ) -> None:
        self.settings = build_settings(config)
        self.broker = MemoryBroker() if broker is None else broker
        self.brokers = MemoryBrokers(self.broker)
        self.application: Application
        self.report: ExitReport | None = None
        self._tasks = asyncio.TaskGroup()
        self._running: asyncio.Task[ExitReport]
        for topic in self._topics():
            if topic not in self.broker.topics:
                self.broker.create_topic(topic, partitions)

    async def __aenter__(self) -> Self:
        """Start the service; returns when it has its partitions."""
        self.application = Application(self.settings, brokers=self.brokers)
        await self._tasks.__aenter__()
        self._running = self._tasks.create_task(self.application.run(), name="service")
        try:
            await self._until(self._joined, "the service does not start")
        except BaseException:  # nobody will leave a block that was not entered
            await self.kill()
            await self._tasks.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Drain; a failure of the service itself comes out here."""
        if exc is None:
            await self.drain()
        else:
            await self.kill()
        # Not told of the test's own failure, which it would wrap in a group.
        await self._tasks.__aexit__(None, None, None)

    async def drain(self) -> ExitReport:
        """Stop intake, finish, commit and leave; a second call only reports."""
        if self.report is None:
            self.application.request_drain()
            self.report = await self._running
        return self.report

    async def kill(self) -> None:
        """End the service at once, as a crash would: nothing is finished or committed."""
        self.report = ExitReport(drained=False)
        self._running.cancel()
        await asyncio.wait([self._running])

    # -- in --------------------------------------------------------------------------------

    async def send(
        self,
        value: Any,
        *,
        topic: str | None = None,
        key: bytes | str | None = None,
        partition: int | None = None,
        headers: SentHeaders = (),
        timestamp: int | None = None,
    ) -> BrokerRecord:
        """Write one event to an input topic; it is not handled before you wait.

        Args:
            value: Bytes and text as they are, ``None`` for a tombstone, anything else as JSON.
            topic: The first input topic if not given.
            key: Records of one key go to one partition.
            partition: Where it goes, whatever the key.
            headers: A mapping, or pairs in order; text as UTF-8.
            timestamp: Milliseconds; now if not given.
        """
        return self.broker.produce(
            topic or self.inputs[0],
            _encoded(value),
            key=key.encode() if isinstance(key, str) else key,
            partition=partition,
            headers=_pairs(headers),
            timestamp=timestamp,
        )

    async def send_all(self, values: Iterable[Any], **place: Any) -> None:
        """:meth:`send` for each of ``values``, in order."""
        for value in values:
            await self.send(value, **place)

    # -- waiting ---------------------------------------------------------------------------

    async def settle(self) -> None:
        """Wait until everything that was sent is handled, published and committed.

        Raises:
            TimeoutError: If it is not after :data:`SETTLE_TIMEOUT_S`; says what is left.
        """
        await self._until(lambda: not self.lag(), "not everything was committed")

    async def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass.

        In virtual time, and while everything sent is committed, in leaps from tick to tick of the
        handlers: other timers that fall due on the way fire late, but none of them has anything
        to do.
        """
        loop = asyncio.get_running_loop()
        end_s = loop.time() + seconds
        virtual = isinstance(loop, VirtualTimeLoop) and not loop.paused
        while (now_s := loop.time()) < end_s - 2 * TICK_S:
            next_s = min([now_s + TICK_S, *self.application.handlers.ticks_due_s.values()])
            # A tick that is due and has not come round waits for its results to be durable.
            if virtual and next_s > now_s and self._idle():
                await virtual_loop().leap(next_s)
            else:
                await asyncio.sleep(TICK_S)
        await asyncio.sleep(end_s - loop.time())

    def _idle(self) -> bool:
        return self._joined() and not self.lag()

    # -- out -------------------------------------------------------------------------------

    def outputs(self, topic: str | None = None) -> list[Any]:
        """The values in an output topic, decoded, in order within each partition."""
        return [_decoded(record.value) for record in self.records(topic)]

    def records(self, topic: str | None = None) -> list[BrokerRecord]:
        """The records in an output topic; in the only configured one if not given."""
        return self.broker.records(topic or self.only_output)

    def dead_letters(self) -> list[DeadLetter]:
        """What the dead-letter topics hold."""
        topics = sorted({pipeline.dead_letter for pipeline in self.settings.pipelines.values()})
        return [
            DeadLetter(
                (record.header("headrace-error") or b"").decode(),
                (record.header("headrace-error-detail") or b"").decode(),
                record.key,
                record.value,
                record,
            )
            for topic in topics
            for record in self.broker.records(topic)
        ]

    def committed(self, topic: str | None = None) -> dict[int, int]:
        """Next offset by partition that the group has committed of an input topic."""
        name = topic or self.inputs[0]
        return {
            partition: offset
            for group, topics in self._groups()
            if name in topics
            for partition, offset in self.broker.committed(group, name).items()
        }

    def lag(self) -> int:
        """Records that were sent and are not committed."""
        return sum(
            self.broker.lag(group, topic) for group, topics in self._groups() for topic in topics
        )

    @property
    def inputs(self) -> list[str]:
        """The input topics, in the order of the configuration."""
        return [topic for _, topics in self._groups() for topic in topics]

    @property
    def only_output(self) -> str:
        """The one configured output topic.

        Raises:
            ValueError: If there are several, or none.
        """
        pipelines = self.settings.pipelines.values()
        outputs = set[str]().union(*(pipeline.output_topics for pipeline in pipelines))
        if len(outputs) != 1:
            raise ValueError(f"name the topic: there are {len(outputs)} outputs")
        return outputs.pop()

    def _groups(self) -> list[tuple[str, Sequence[str]]]:
        return [
            (source.group_id, source.topics)
            for pipeline in self.settings.pipelines.values()
            for source in pipeline.kafka_sources.values()
        ]

    def _topics(self) -> list[str]:
        topics = list(self.inputs)
        for pipeline in self.settings.pipelines.values():
            topics += [
                pipeline.dead_letter,
                *sorted(pipeline.output_topics | pipeline.delay_topics),
            ]
        topics.extend(changelog_topics(self.settings))
        return list(dict.fromkeys(topics))

    def _joined(self) -> bool:
        return all(source.connected for source in self.application.kafka_sources)

    async def _until(self, condition: Callable[[], bool], complaint: str) -> None:
        try:
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                while not condition():
                    if self._running.done():
                        return  # its failure comes out when the block is left
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise TimeoutError(f"{complaint}; lag {self.lag()}{self._missing()}") from None

    def _missing(self) -> str:
        """What is said of topics that something waits for and that nobody has made."""
        waited_for = self.application.publisher.unknown
        missing = [topic for topic in waited_for if topic not in self.broker.topics]
        names = ", ".join(missing)
        return f"; there is no topic {names}" if missing else ""


def pipeline_of(use: Any, **handler: Any) -> dict[str, Any]:
    """The configuration of one handler between the topics ``input`` and ``output``.

    Args:
        use: What ``use:`` would say, or the decorated function or class itself.
        handler: What else the configuration would say about it: ``options``, ``where``, …

    Raises:
        TypeError: If ``use`` is neither text nor a declared handler, or another one has been
            declared by its name since.
    """
    if not isinstance(use, str):
        spec = getattr(use, SPEC_ATTRIBUTE, None)
        # a subclass has inherited the declaration of another class, which would run instead
        if not isinstance(spec, HandlerSpec) or spec.target is not use:
            raise TypeError(f"{use!r} is not declared with @handler")
        if registered().get(spec.name) is not spec:  # it would be that one which runs
            raise TypeError(f"{use!r} is not the last one that was declared as {spec.name!r}")
        use = spec.name
    return {
        "pipelines": {
            "test": {
                "sources": {"kafka": {"topics": [INPUT], "group_id": GROUP}},
                "normalizer": "json",
                "dead_letter": DEAD_LETTERS,
                "handlers": {"handler": {"use": use, "output": OUTPUT, **handler}},
            }
        }
    }


def _pairs(headers: SentHeaders) -> Headers:
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [
        (name, content.encode() if isinstance(content, str) else content) for name, content in pairs
    ]


def _encoded(value: Any) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def _decoded(value: bytes | None) -> Any:
    if value is None:
        return None
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value

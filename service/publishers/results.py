"""Outcomes into output records: encoded, named, sized, addressed.

One writer per handler and pipeline; it knows the handler's output topic and the pipeline's
dead-letter topic, and hands finished entries to the publisher.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from time import perf_counter

from service.delivery.dead_letters import record_bytes
from service.delivery.delays import Delayed, original_of
from service.delivery.failures import failure_of
from service.delivery.identity import ID_HEADER, headrace_id, id_prefix
from service.errors import OutputTooLargeError, PermanentError
from service.events import (
    Failure,
    Handled,
    Outcome,
    RecordBatch,
    Result,
)
from service.metrics import PipelineCounters
from service.publishers.base import OutputTracing
from service.publishers.dead_letters import DeadLetters
from service.publishers.encoding import (
    BINARY_CONTENT_TYPE,
    CONTENT_TYPE,
    OUR_HEADERS_BYTES,
    TRACE_HEADER,
    Output,
    carried,
    check_acceptable,
    encode,
    headers_of,
    key_of,
    passed_on,
)
from service.publishers.plain import PlainWriter, Several, by_count, gathered
from service.publishers.protocols import Publisher, StateChanges
from service.publishers.runs import Entry, Run, trace_sent


class ResultWriter:
    """Publishes the outcomes of one handler.

    Args:
        publisher: Where records go.
        pipeline: Name of the pipeline, for ids.
        handler: Name of the handler, for ids; empty for failures before any handler.
        output: Topic of results that name none; ``None`` if every result has to.
        dead_letter: Topic of failures.
        counters: The pipeline's counters.
        idle: Tells whether nothing more is coming for now, so that batches should go out.
        tracing: Told of the outputs of traced records.
        delay_topics: Topics in which a record may be twice after a crash, so that its results are
            named by its origin.

    Attributes:
        changes: Told what becomes of the results of records that changed the handler's state;
            ``None`` for a handler without.
    """

    def __init__(
        self,
        publisher: Publisher,
        *,
        pipeline: str,
        handler: str,
        output: str | None,
        dead_letter: str,
        counters: PipelineCounters,
        idle: Callable[[], bool],
        tracing: OutputTracing,
        delay_topics: Collection[str] = frozenset(),
    ) -> None:
        self._publisher = publisher
        self._pipeline = pipeline
        self._handler = handler
        self._output = output
        self._counters = counters
        self._idle = idle
        self._delay_topics = delay_topics
        self._tracing = tracing
        self._dead_letters = DeadLetters(publisher, dead_letter, counters, tracing)
        self._plain = PlainWriter(
            publisher, self, name=(pipeline, handler), output=output, tracing=tracing
        )
        self.changes: StateChanges | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that are written whatever the handler returns."""
        letters = self._dead_letters.topic
        return (letters,) if self._output is None else (self._output, letters)

    async def prepare(self) -> None:
        """Find out about the configured topics, however long the broker takes.  Cancel safe."""
        for topic in self.topics:
            await self._publisher.learn(topic)

    def publish(self, outcomes: Sequence[Handled | Outcome | None]) -> Awaitable[None] | None:
        """Publish ``outcomes``; ``None`` among them are calls of a revoked partition.

        Returns:
            Something to await before more is published, or ``None``.
        """
        if self._publisher.tight and self.changes is None:
            return self._write_in_steps(outcomes)
        return self.publish_at_once(outcomes)

    def publish_at_once(
        self, outcomes: Sequence[Handled | Outcome | None]
    ) -> Awaitable[None] | None:
        """As :meth:`publish`, for callers that cannot wait; all is queued unless a topic is new."""
        publisher = self._publisher
        began_s = perf_counter()
        late = self._write(outcomes)
        publisher.added(urgent=self._idle())
        self._counters.publish_s += perf_counter() - began_s
        if late:
            return self._write_late(late)
        return publisher.room() if publisher.full else None

    def takes(self, result: Result) -> bool:
        """Whether ``result`` of no event can be published, as far as its topic is known."""
        try:
            return self._address(result, None).topic in self._publisher.topics
        except PermanentError:
            return False

    def _write(self, outcomes: Sequence[Handled | Outcome | None]) -> list[Outcome]:
        """Write ``outcomes``; returns those whose topics are not known yet, with all behind."""
        valid_batch: RecordBatch | None = None
        late: list[Outcome] = []
        for item in gathered(outcomes):
            batch = item.batch
            if batch is not valid_batch:
                # What has to wait does so where it is sent; here it only must not be for nothing.
                if batch.revoked:
                    self._drop(item)
                    continue
                valid_batch = batch
            if isinstance(item, Outcome):
                single = [item]
            elif not (late or batch.topic in self._delay_topics) and self._plain.write(item):
                for indexes, count in by_count(item):
                    self._wrote(batch, indexes, count)
                continue
            else:
                single = item.outcomes()
            for outcome in single:
                if late or not self._write_or_bury(outcome):
                    late.append(outcome)
        return late

    def _drop(self, item: Handled | Several | Outcome) -> None:
        """Do nothing for an outcome: whoever owns its partition now does it again."""
        indexes = [item.index] if isinstance(item, Outcome) else item.indexes
        item.batch.dropped(indexes)
        if self.changes is not None:
            for index in indexes:
                self.changes.dropped(item.batch, index)

    def _write_or_bury(self, outcome: Outcome) -> bool:
        """Write one outcome's records, or its dead letter; false if a topic is not known."""
        try:
            written = self._write_one(outcome)
        except PermanentError as exc:
            outcome.failure = failure_of(exc, stage="publish", handler=self._handler)
            written = self._dead_letters.bury(outcome.batch, outcome.index, outcome.failure)
        if written:
            self._wrote(outcome.batch, (outcome.index,), outcome.count)
        return written

    def _wrote(self, batch: RecordBatch, indexes: Sequence[int], results: int = 1) -> None:
        """What these records changed waits for the results of theirs that were queued."""
        changes = self.changes
        if changes is not None and changes.unwritten:
            for index in indexes:
                if (batch, index) in changes.unwritten:
                    changes.wrote(batch, index, results)

    async def _write_in_steps(self, outcomes: Sequence[Handled | Outcome | None]) -> None:
        """Write one record after the other, where already these could be too much at a time.

        Not of a handler with state: what all of them have changed waits for the last one's results.
        """
        for item in outcomes:
            if item is None:
                continue
            for outcome in [item] if isinstance(item, Outcome) else item.outcomes():
                late = self._write([outcome])
                self._publisher.added(urgent=self._idle())
                if late:
                    await self._write_late(late)
                await self._publisher.room()

    async def _write_late(self, outcomes: list[Outcome]) -> None:
        """Write outcomes whose topics have to be looked up first, in order."""
        while outcomes:
            for topic in self._topics_of(outcomes[0]):
                await self._publisher.learn(topic)
            outcomes = self._write(outcomes)
            self._publisher.added(urgent=True)
        await self._publisher.room()

    def _topics_of(self, outcome: Outcome) -> set[str]:
        topics = set(self.topics)
        if outcome.failure is None and not isinstance(outcome.results, dict):
            topics |= {result.topic for result in outcome.results if result.topic is not None}
        return topics

    def _write_one(self, outcome: Outcome) -> bool:
        """Write one outcome's records; false if a topic is not known.

        Raises:
            PermanentError: If a result cannot be published.
        """
        batch, index, results = outcome.batch, outcome.index, outcome.results
        if outcome.failure is not None:
            return self._dead_letters.bury(batch, index, outcome.failure)
        record = batch.records[index]
        if isinstance(results, dict):
            results = (Result(results),)
        if not results:
            batch.ack(index)
            return True
        addressed = [self._address(result, record.key) for result in results]
        if any(output.topic not in self._publisher.topics for output in addressed):
            return False
        if len(addressed) > 1:
            batch.hold(index, len(addressed) - 1)
        for place, output in enumerate(addressed):
            self._add(output, outcome, place)
        return True

    def _address(self, result: Result, own_key: bytes | None) -> Output:
        """Topic, key and encoded value of a result, checked before any of them is queued."""
        topic = result.topic or self._output
        if topic is None:
            raise PermanentError("the result names no topic and the handler has no output")
        key = key_of(result, own_key)
        value = None if result.value is None else encode(result.value)
        # what a record is on its way to a delay topic, it was in its own
        if value is None and key is None and not isinstance(result, Delayed):
            raise PermanentError("a result without a value (a tombstone) needs a key")
        if topic in self._publisher.topics:
            self._check(topic, key, value, result)
        return Output(topic, key, value, result)

    def _check(self, topic: str, key: bytes | None, value: bytes | None, result: Result) -> None:
        check_acceptable(topic, self._publisher.topics[topic], key, result.timestamp)
        size = record_bytes(key, value, headers_of(result)) + OUR_HEADERS_BYTES
        limit = self._publisher.max_record_bytes(topic)
        if size > limit:
            raise OutputTooLargeError(f"a result of {size} bytes; topic {topic} takes {limit}")

    def _add(self, output: Output, outcome: Outcome, place: int) -> None:
        topic, key, value, result = output
        batch, index = outcome.batch, outcome.index
        record = batch.records[index]
        origin = original_of(record.headers)[1] if batch.topic in self._delay_topics else None
        path, number, offset = origin or (batch.path, batch.partition, record.offset)
        prefix = id_prefix(self._pipeline, self._handler, path, number)
        content_type = BINARY_CONTENT_TYPE if isinstance(result.value, bytes) else CONTENT_TYPE
        headers = [(ID_HEADER, headrace_id(prefix, offset, place)), content_type]
        parent = None
        active = self._tracing.active
        if active and id(batch) in active:
            parent = self._tracing.outgoing(batch, index)
        elif record.headers:
            parent = passed_on(record.headers)
        if parent is not None:
            headers.append((TRACE_HEADER, parent))
        if isinstance(result, Delayed):
            headers = carried(result, parent)
        else:
            headers.extend(headers_of(result))
        publisher = self._publisher
        publisher.add(
            topic,
            publisher.partition_for(topic, key, batch.partition),
            Entry(result.timestamp, key, value, headers, batch, index, self),
        )

    def failed(self) -> None:
        """Count a produce request that failed."""
        self._counters.publish_failures += 1

    def stored(self, topic: str, runs: Sequence[Run], count: int, *, since_s: float) -> None:
        """Count results that are durable, and end the spans of the request."""
        if self.changes is not None:
            self.changes.results_stored(runs, self)
        counters = self._counters
        counters.results_out += count
        counters.send_durations.record(asyncio.get_running_loop().time() - since_s)
        trace_sent(self._tracing, topic, runs, self, since_s)

    def passed_on(self, run: Run) -> None:
        """Results that went to another pipeline of this process are done with there.

        As :meth:`stored`, called before their inputs are acknowledged.
        """
        if self.changes is not None:
            self.changes.results_stored((run,), self)
        self._counters.results_out += len(run.places)

    def lost(self, run: Run) -> None:
        """Results that were queued belong to somebody else by now, and will not be sent."""
        if self.changes is not None:
            self.changes.results_stored((run,), self)

    def refused(self, entry: Entry, reason: str) -> None:
        """The broker refused a record for its size: dead-letter its input instead."""
        if self.changes is not None:
            self.changes.results_stored((Run(entry.batch, [entry.place], self),), self)
        failure = Failure("too_large", reason, stage="publish", handler=self._handler)
        self._dead_letters.bury(entry.batch, entry.place, failure)

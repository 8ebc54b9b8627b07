"""Outcomes into output records: encoded, named, sized, addressed.

One writer per handler and pipeline; it knows the handler's output topic and the pipeline's
dead-letter topic, and hands finished entries to the publisher.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import orjson

from service.clock import wall_clock_ms
from service.delivery.dead_letters import dead_letter
from service.delivery.delays import origin_of, original_headers
from service.delivery.failures import failure_of
from service.delivery.identity import ID_HEADER, headrace_id, id_prefix
from service.errors import OutputTooLargeError, PermanentError
from service.events import (
    TRACEPARENT_MAX_BYTES,
    Failure,
    Headers,
    Outcome,
    RecordBatch,
    Result,
    Results,
    SameKey,
)
from service.metrics import PipelineCounters
from service.publishers.base import OutputTracing, TopicInfo
from service.publishers.output import Entry, record_size

CONTENT_TYPE: Final = ("content-type", b"application/json")
BINARY_CONTENT_TYPE: Final = ("content-type", b"application/octet-stream")
TRACE_HEADER: Final = "traceparent"


class Publisher(Protocol):
    """Where a writer's records go; see :class:`service.publishers.kafka.KafkaPublisher`."""

    @property
    def topics(self) -> Mapping[str, TopicInfo]:
        """Topics that :meth:`add` takes."""
        ...

    async def learn(self, topic: str) -> None:
        """Make ``topic`` one of :attr:`topics`."""
        ...

    def max_record_bytes(self, topic: str) -> int:
        """Largest record that ``topic`` takes."""
        ...

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        """The partition of ``key``, or ``spare`` without one."""
        ...

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        """Queue a record."""
        ...

    def add_many(self, topic: str, partition: int, entries: Sequence[Entry]) -> None:
        """Queue records in order."""
        ...

    def added(self, *, urgent: bool) -> None:
        """A run of :meth:`add` has ended."""
        ...

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait."""
        ...

    async def room(self) -> None:
        """Wait until more may be added."""
        ...


class Changes(Protocol):
    """What of a handler's state waits for its results; see `service.publishers.changelog`."""

    @property
    def unwritten(self) -> AbstractSet[tuple[RecordBatch, int]]:
        """Records with changes whose results are not queued yet."""
        ...

    def wrote(self, batch: RecordBatch, index: int, results: int) -> None:
        """The results of such a record are queued."""
        ...

    def dropped(self, batch: RecordBatch, index: int) -> None:
        """Such a record is not ours any more."""
        ...

    def results_stored(self, entries: Sequence[Entry], owner: object) -> None:
        """Results are durable, or have become dead letters."""
        ...


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
        tracing: OutputTracing | None = None,
    ) -> None:
        self._publisher = publisher
        self._pipeline = pipeline
        self._handler = handler
        self._output = output
        self._dead_letter = dead_letter
        self._counters = counters
        self._idle = idle
        self._tracing = NO_TRACING if tracing is None else tracing
        self._graves: dict[str, _Grave] = {}
        self.changes: Changes | None = None

    @property
    def topics(self) -> tuple[str, ...]:
        """Topics that are written whatever the handler returns."""
        return tuple(topic for topic in (self._output, self._dead_letter) if topic is not None)

    async def prepare(self) -> None:
        """Find out about the configured topics, however long the broker takes.  Cancel safe."""
        for topic in self.topics:
            await self._publisher.learn(topic)

    def publish(self, outcomes: Sequence[Outcome | None]) -> Awaitable[None] | None:
        """Publish ``outcomes``; ``None`` among them are calls of a revoked partition.

        Returns:
            Something to await before more is published, or ``None``.
        """
        began_s = perf_counter()
        late = self._write(outcomes)
        publisher = self._publisher
        publisher.added(urgent=self._idle())
        self._counters.publish_s += perf_counter() - began_s
        if late:
            return self._write_late(late)
        return publisher.room() if publisher.full else None

    def _write(self, outcomes: Sequence[Outcome | None]) -> list[Outcome]:
        """Write ``outcomes``; returns those whose topics are not known yet, with all behind."""
        valid_batch: RecordBatch | None = None
        changes = self.changes
        unwritten = _NONE if changes is None else changes.unwritten
        position = 0
        while position < len(outcomes):
            outcome = outcomes[position]
            if outcome is None:
                position += 1
                continue
            batch = outcome.batch
            if batch is not valid_batch:
                if not batch.valid():
                    self._drop(outcome)
                    position += 1
                    continue
                valid_batch = batch
            written = self._write_plain(outcomes, position, batch)
            if written:
                if unwritten:
                    self._wrote(batch, outcomes[position : position + written])
                position += written
                continue
            if not self._write_or_bury(outcome):
                return [left for left in outcomes[position:] if left is not None]
            if unwritten:
                self._wrote(batch, [outcome])
            position += 1
        return []

    def _drop(self, outcome: Outcome) -> None:
        """Do nothing for an outcome: whoever owns its partition now does it again."""
        outcome.batch.dispatched -= 1
        if self.changes is not None:
            self.changes.dropped(outcome.batch, outcome.index)

    def _write_or_bury(self, outcome: Outcome) -> bool:
        """Write one outcome's records, or its dead letter; false if a topic is not known."""
        try:
            return self._write_one(outcome)
        except PermanentError as exc:
            outcome.failure = failure_of(exc, stage="publish", handler=self._handler)
            return self._bury(outcome, outcome.failure)

    def _wrote(self, batch: RecordBatch, outcomes: Sequence[Outcome | None]) -> None:
        """What the records of ``outcomes`` changed waits for the results that were queued."""
        changes = self.changes
        for outcome in outcomes:
            if changes is not None and outcome is not None:
                at = (batch, outcome.index)
                if at in changes.unwritten:
                    failed = outcome.failure is not None
                    changes.wrote(*at, 0 if failed else _count(outcome.results))

    def _write_plain(  # noqa: C901 -- the hot loop; each call taken out of it costs 50 ns a record
        self, outcomes: Sequence[Outcome | None], start: int, batch: RecordBatch
    ) -> int:
        """Write the run of plain results of ``batch`` at ``start``: one mapping each, own output.

        Nearly everything is written here, in one loop with nothing looked up twice.  It stops at
        the first outcome that needs more: a failure, several or addressed results, a value that
        is no JSON or too large, a topic that is not known.

        Returns:
            How many outcomes it has written.
        """
        topic = self._output
        publisher = self._publisher
        if topic is None or topic not in publisher.topics or self._tracing.active:
            return 0
        prefix = id_prefix(self._pipeline, self._handler, batch.topic, batch.partition)
        limit = publisher.max_record_bytes(topic) - _OUR_HEADERS_BYTES
        keyless = publisher.partition_for(topic, None, batch.partition)
        records, dumps = batch.records, orjson.dumps
        runs: dict[int, list[Entry]] = {}
        position = start
        for position in range(start, len(outcomes)):
            outcome = outcomes[position]
            if outcome is None or outcome.batch is not batch or outcome.failure is not None:
                break
            results = outcome.results
            if type(results) is not dict:
                break
            index = outcome.index
            record = records[index]
            key = record.key
            try:
                value = dumps(results)
            except TypeError:
                break
            if b"null" in value and not _finite(results):
                break
            if len(value) + (0 if key is None else len(key)) > limit:
                break
            headers = [(ID_HEADER, b"%b%d-0" % (prefix, record.offset)), CONTENT_TYPE]
            if record.headers and (parent := _passed_on(record.headers)) is not None:
                headers.append((TRACE_HEADER, parent))
            partition = keyless if key is None else publisher.partition_for(topic, key, keyless)
            run = runs.get(partition)
            if run is None:
                run = runs[partition] = []
            # the class itself would spend twice as long on taking keyword arguments apart
            run.append(_new_entry(Entry, (None, key, value, headers, batch, index, self, False)))
        else:
            position = len(outcomes)
        for partition, entries in runs.items():
            publisher.add_many(topic, partition, entries)
        return position - start

    async def _write_late(self, outcomes: list[Outcome]) -> None:
        """Write outcomes whose topics have to be looked up first, in order."""
        while outcomes:
            for topic in self._topics_of(outcomes[0]):
                await self._publisher.learn(topic)
            outcomes = self._write(outcomes)
            self._publisher.added(urgent=True)
        await self._publisher.room()

    def _topics_of(self, outcome: Outcome) -> set[str]:
        topics = {self._dead_letter}
        if outcome.failure is None and not isinstance(outcome.results, dict):
            topics |= {result.topic for result in outcome.results if result.topic is not None}
        return topics | set(self.topics)

    def _write_one(self, outcome: Outcome) -> bool:
        """Write one outcome's records; false if a topic is not known.

        Raises:
            PermanentError: If a result cannot be published.
        """
        results = outcome.results
        if outcome.failure is not None:
            return self._bury(outcome, outcome.failure)
        batch, index = outcome.batch, outcome.index
        record = batch.records[index]
        if isinstance(results, dict):
            topic = self._output
            if topic is None:
                raise PermanentError("the result names no topic and the handler has no output")
            if topic not in self._publisher.topics:
                return False
            self._add(_Output(topic, record.key, encode(results), None), outcome, 0)
            return True
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

    def _address(self, result: Result, own_key: bytes | None) -> "_Output":
        """Topic, key and encoded value of a result, checked before any of them is queued."""
        topic = result.topic or self._output
        if topic is None:
            raise PermanentError("the result names no topic and the handler has no output")
        key = own_key if isinstance(result.key, SameKey) else result.key
        if isinstance(key, str):
            key = key.encode()
        value = None if result.value is None else encode(result.value)
        if value is None and key is None:
            raise PermanentError("a result without a value (a tombstone) needs a key")
        if topic in self._publisher.topics:
            self._check_size(topic, key, value, result)
        return _Output(topic, key, value, result)

    def _check_size(
        self, topic: str, key: bytes | None, value: bytes | None, result: Result | None
    ) -> None:
        size = len(value or b"") + len(key or b"") + _OUR_HEADERS_BYTES
        if result is not None and result.headers:
            size += record_size(None, None, _headers_of(result.headers))
        limit = self._publisher.max_record_bytes(topic)
        if size > limit:
            raise OutputTooLargeError(f"a result of {size} bytes; topic {topic} takes {limit}")

    def _add(self, output: "_Output", outcome: Outcome, place: int) -> None:
        topic, key, value, result = output
        batch, index = outcome.batch, outcome.index
        record = batch.records[index]
        prefix = id_prefix(self._pipeline, self._handler, batch.topic, batch.partition)
        content_type = CONTENT_TYPE
        timestamp = None
        extra: Headers = ()
        if result is None:
            self._check_size(topic, key, value, None)
        else:
            timestamp = result.timestamp
            if isinstance(result.value, bytes):
                content_type = BINARY_CONTENT_TYPE
            if result.headers:
                extra = _headers_of(result.headers)
        headers = [(ID_HEADER, headrace_id(prefix, record.offset, place)), content_type]
        parent = None
        active = self._tracing.active
        if active and id(batch) in active:
            parent = self._tracing.outgoing(batch, index)
        elif record.headers:
            parent = _passed_on(record.headers)
        if parent is not None:
            headers.append((TRACE_HEADER, parent))
        if extra:
            headers.extend(extra)
        publisher = self._publisher
        publisher.add(
            topic,
            publisher.partition_for(topic, key, batch.partition),
            Entry(timestamp, key, value, headers, batch, index, self),
        )

    def _bury(self, outcome: Outcome, failure: Failure) -> bool:
        """Write the dead-letter record of ``outcome``; false if its topic is not known."""
        topic = self._dead_letter
        publisher = self._publisher
        if topic not in publisher.topics:
            outcome.failure = failure
            return False
        batch, index = outcome.batch, outcome.index
        record = batch.records[index]
        headers, origin = record.headers, origin_of(record.headers)
        if origin is None:
            origin = (batch.topic, batch.partition, record.offset)
        else:
            headers = original_headers(headers)  # it has been through delay topics
        letter = dead_letter(
            failure,
            key=record.key,
            value=record.value,
            headers=headers,
            origin=origin,
            failed_at_ms=wall_clock_ms(),
            max_bytes=publisher.max_record_bytes(topic),
        )
        if self._tracing.active:
            self._tracing.failed(batch, index, failure.code, failure.detail)
        publisher.add(
            topic,
            publisher.partition_for(topic, letter.key, batch.partition),
            Entry(
                None,
                letter.key,
                letter.value,
                letter.headers,
                batch,
                index,
                self._grave(failure.code),
                failed=True,
            ),
        )
        return True

    def _grave(self, code: str) -> "_Grave":
        grave = self._graves.get(code)
        if grave is None:
            grave = self._graves[code] = _Grave(code, self._counters)
        return grave

    def failed(self) -> None:
        """Count a produce request that failed."""
        self._counters.publish_failures += 1

    def stored(self, topic: str, entries: Sequence[Entry], count: int, *, since_s: float) -> None:
        """Count results that are durable, and end the spans of the request."""
        if self.changes is not None:
            self.changes.results_stored(entries, self)
        counters = self._counters
        counters.results_out += count
        counters.send_durations.record(asyncio.get_running_loop().time() - since_s)
        if active := self._tracing.active:
            own = [
                (entry.batch, entry.place)
                for entry in entries
                if id(entry.batch) in active and entry.owner is self
            ]
            self._tracing.sent(topic, own, since_s=since_s)

    def refused(self, entry: Entry, reason: str) -> None:
        """The broker refused a record for its size: dead-letter its input instead."""
        if self.changes is not None:
            self.changes.results_stored((entry,), self)
        failure = Failure("too_large", reason, stage="publish", handler=self._handler)
        self._bury(Outcome(entry.batch, entry.place), failure)


_NONE: Final[AbstractSet[tuple[RecordBatch, int]]] = frozenset()


def _count(results: Results) -> int:
    return 1 if isinstance(results, dict) else len(results)


class _Output(NamedTuple):
    """A result with its address, encoded."""

    topic: str
    key: bytes | None
    value: bytes | None
    result: Result | None


_new_entry: Final = tuple.__new__


def encode(value: Any) -> bytes:
    """A result's value as bytes: JSON, unless it is bytes already.

    Raises:
        PermanentError: If it has no JSON, or a number that is not finite.
    """
    if isinstance(value, bytes):
        return value
    try:
        encoded = orjson.dumps(value)
    except TypeError as exc:
        raise PermanentError(f"the result is no JSON: {exc}") from exc
    # orjson writes NaN and infinities as null without a word
    if b"null" in encoded and not _finite(value):
        raise PermanentError("the result holds a number that is not finite (NaN or Infinity)")
    return encoded


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return value - value == 0  # false for NaN and both infinities
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    return True


def _headers_of(headers: Mapping[str, str | bytes]) -> Headers:
    return [
        (name, content.encode() if isinstance(content, str) else content)
        for name, content in headers.items()
    ]


def _passed_on(headers: Headers) -> bytes | None:
    """The input's ``traceparent`` as it is: the output belongs to the same trace.

    One of any length would make an output that no topic takes of an input that fits.
    """
    for name, content in headers:
        if name == TRACE_HEADER:
            return content if content and len(content) <= TRACEPARENT_MAX_BYTES else None
    return None


class _Grave:
    """Owns the dead letters with one error code."""

    def __init__(self, code: str, counters: PipelineCounters) -> None:
        self._code = code
        self._counters = counters

    def failed(self) -> None:
        """Count a produce request that failed."""
        self._counters.publish_failures += 1

    def stored(self, topic: str, entries: Sequence[Entry], count: int, *, since_s: float) -> None:
        """Count dead letters that are durable."""
        del topic, entries, since_s
        self._counters.dead_lettered(self._code, count)

    def refused(self, entry: Entry, reason: str) -> None:
        """Leave it unacknowledged: losing a dead letter is not an option.

        Raises:
            OutputTooLargeError: Always.
        """
        raise OutputTooLargeError(f"the dead-letter topic refuses {entry.batch.topic}: {reason}")


class _NoTracing:
    """Nothing is traced."""

    active: Mapping[int, object] = MappingProxyType({})

    def outgoing(self, batch: RecordBatch, index: int) -> bytes | None:
        del batch, index
        return None

    def failed(self, batch: RecordBatch, index: int, code: str, detail: str = "") -> None:
        del batch, index, code, detail

    def sent(
        self, topic: str, records: Iterable[tuple[RecordBatch, int]], *, since_s: float
    ) -> None:
        del topic, records, since_s


NO_TRACING: Final[OutputTracing] = _NoTracing()


_OUR_HEADERS_BYTES = 512
"""Room for our own headers; ids are bounded by the lengths of names."""

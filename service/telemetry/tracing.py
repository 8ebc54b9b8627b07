"""Spans of the few records that are traced; for all others, next to nothing.

Which ones is decided once per batch, before a tracer is touched (an unsampled span costs
6 microseconds, a look at a header's flag a twentieth of one).  A traced record has one
``process`` span, a child of its producer's, from normalization to acknowledgement; its outputs
carry that span on.  The batches that it travels in have ``poll``, ``send`` and ``commit`` spans,
linked to it.

The pipeline asks ``if tracing.enabled`` once per batch and ``if tracing.active`` elsewhere; with
tracing off both stay false and nothing here is called.
"""

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from itertools import islice

from opentelemetry import trace
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer

from service.clock import wall_clock_s
from service.events import RecordBatch
from service.telemetry import traceparent
from service.telemetry.picker import Picker

MAX_ACTIVE = 2000
"""Traced records at once; while there are so many, no further record is traced."""

MAX_LINKS = 64
"""Links of one batch span; what is linked beyond them adds nothing for the reader."""

OWN_SPAN = "service.pipeline"
"""Attribute by which the sampler knows a span whose record was picked here."""


class Tracing:
    """The traced records of one pipeline.

    Args:
        tracer: Makes the spans; ``None`` turns tracing off.
        pipeline: Name of the pipeline.
        group: Consumer group, if there is one.
        ratio: Share of records without a ``traceparent`` that are traced, 0 to 1.
        clock: Seconds of the clock that stamps ``RecordBatch.received_at_s``.

    Attributes:
        enabled: Whether :meth:`begin` is worth calling.
        active: Traced records by batch; empty nearly always, so ``if tracing.active`` is the
            test before every other method.
        uncommitted: Traced records that are done and not yet committed, by partition.
    """

    def __init__(
        self,
        tracer: Tracer | None,
        *,
        pipeline: str = "",
        group: str = "",
        ratio: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.enabled = tracer is not None
        self.active: dict[int, TracedBatch] = {}
        self._tracer = tracer or trace.NoOpTracer()
        self._clock = clock
        self._picker = Picker(ratio, clock)
        self._spans = 0
        self.uncommitted: dict[tuple[str, int], list[SpanContext]] = {}
        self._common: dict[str, str] = {"messaging.system": "kafka", OWN_SPAN: pipeline}
        if group:
            self._common["messaging.consumer.group.name"] = group

    def begin(self, batch: RecordBatch) -> None:
        """Start the spans of the records of ``batch`` that are traced; call it once per batch."""
        picked = self._picker.pick(batch.records, MAX_ACTIVE - self._spans)
        if not picked:
            return
        producers = {index: traceparent.parse(batch.records[index].headers) for index in picked}
        poll = self._tracer.start_span(
            f"poll {batch.topic}",
            context=trace.set_span_in_context(trace.INVALID_SPAN),
            kind=SpanKind.CLIENT,
            attributes=self._attributes("poll", "receive", batch.topic, batch.partition)
            | {"messaging.batch.message_count": len(batch)},
            links=_links(context for context in producers.values() if context is not None),
            start_time=self._wall_ns(batch.received_at_s),
        )
        poll.end()
        traced = TracedBatch(batch)
        for index, producer in producers.items():
            traced.spans[index] = self._start_process(batch, index, producer, poll)
        self.active[id(batch)] = traced
        self._spans += len(traced.spans)

    def outgoing(self, batch: RecordBatch, index: int) -> bytes | None:
        """The ``traceparent`` for the outputs of a record: its span's, or the one it came with."""
        span = self.span(batch, index)
        if span is not None:
            return traceparent.render(span.get_span_context())
        return traceparent.find(batch.records[index].headers)

    def span(self, batch: RecordBatch, index: int) -> Span | None:
        """The ``process`` span of a record, if it is traced."""
        traced = self.active.get(id(batch))
        return None if traced is None else traced.spans.get(index)

    @contextmanager
    def current(self, batch: RecordBatch, index: int) -> Generator[None]:
        """Make the record's span the current one, so that a handler's spans and logs join it."""
        span = self.span(batch, index)
        if span is None:
            yield
            return
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            yield

    def failed(self, batch: RecordBatch, index: int, code: str, detail: str = "") -> None:
        """A record goes to the dead-letter topic."""
        span = self.span(batch, index)
        if span is not None:
            span.set_attribute("error.type", code)
            span.set_status(Status(StatusCode.ERROR, detail))

    def sent(
        self, topic: str, records: Iterable[tuple[RecordBatch, int]], *, since_s: float
    ) -> None:
        """A produce request to ``topic`` with outputs of ``records`` was acknowledged.

        Args:
            topic: Where to.
            records: The input records whose outputs it held.
            since_s: When it was sent, by ``clock``.
        """
        spans: list[Span] = []
        now_ns = self._wall_ns(self._clock())
        for batch, index in records:
            traced = self.active.get(id(batch))
            if traced is not None and (span := traced.spans.get(index)) is not None:
                traced.answered_ns[index] = now_ns
                spans.append(span)
        if not spans:
            return
        self._tracer.start_span(
            f"send {topic}",
            context=trace.set_span_in_context(spans[0]),
            kind=SpanKind.PRODUCER,
            attributes=self._attributes("send", "send", topic),
            links=_links(span.get_span_context() for span in spans),
            start_time=self._wall_ns(since_s),
        ).end()

    def completed(self, batch: RecordBatch) -> None:
        """Every record of ``batch`` is done: end its spans, each at the time of its last answer."""
        traced = self.active.pop(id(batch), None)
        if traced is None:
            return
        contexts = self.uncommitted.setdefault((batch.topic, batch.partition), [])
        for index, span in traced.spans.items():
            span.end(traced.answered_ns.get(index))
            if len(contexts) < MAX_LINKS:
                contexts.append(span.get_span_context())
        self._spans -= len(traced.spans)

    def sweep(self) -> None:
        """Let go of batches whose source did not say that they are done; call it now and then."""
        for traced in list(self.active.values()):
            if traced.batch.revoked:
                self.dropped(traced.batch)
            elif not traced.batch.left:
                self.completed(traced.batch)

    def committed(self, positions: Iterable[tuple[str, int, int]], *, since_s: float) -> None:
        """The group's positions were committed.

        Args:
            positions: Topic, partition and next offset of each.
            since_s: When the request was sent, by ``clock``.
        """
        for topic, partition, next_offset in positions:
            contexts = self.uncommitted.pop((topic, partition), None)
            if not contexts:
                continue
            self._tracer.start_span(
                f"commit {topic}",
                context=trace.set_span_in_context(trace.INVALID_SPAN),
                kind=SpanKind.CLIENT,
                attributes=self._attributes("commit", "settle", topic, partition)
                | {"messaging.kafka.offset": next_offset},
                links=_links(contexts),
                start_time=self._wall_ns(since_s),
            ).end()

    def dropped(self, batch: RecordBatch) -> None:
        """``batch`` was revoked: whoever gets its partition next traces it again."""
        traced = self.active.pop(id(batch), None)
        if traced is None:
            return
        for span in traced.spans.values():
            span.add_event("partition revoked")
            span.end()
            self._spans -= 1

    def _start_process(
        self, batch: RecordBatch, index: int, producer: SpanContext | None, poll: Span
    ) -> Span:
        parent = trace.INVALID_SPAN if producer is None else trace.NonRecordingSpan(producer)
        return self._tracer.start_span(
            f"process {batch.topic}",
            context=trace.set_span_in_context(parent),
            kind=SpanKind.CONSUMER,
            attributes=self._attributes("process", "process", batch.topic, batch.partition)
            | {"messaging.kafka.offset": batch.records[index].offset},
            links=_links((poll.get_span_context(),)),
        )

    def _attributes(
        self, name: str, kind: str, topic: str, partition: int | None = None
    ) -> dict[str, str | int]:
        """Of a span of the operation called ``name``, of OpenTelemetry's ``kind``."""
        where: dict[str, str | int] = {"messaging.destination.name": topic}
        if partition is not None:
            where["messaging.destination.partition.id"] = str(partition)
        return {
            **self._common,
            "messaging.operation.name": name,
            "messaging.operation.type": kind,
            **where,
        }

    def _wall_ns(self, at_s: float) -> int:
        return int((wall_clock_s() - max(0.0, self._clock() - at_s)) * 1e9)


class TracedBatch:
    """The spans of a batch by index; holds the batch, so that its identity is not reused."""

    __slots__ = ("answered_ns", "batch", "spans")

    def __init__(self, batch: RecordBatch) -> None:
        self.batch = batch
        self.spans: dict[int, Span] = {}
        self.answered_ns: dict[int, int] = {}


def _links(contexts: Iterable[SpanContext]) -> list[Link]:
    """At most :data:`MAX_LINKS` links, each context once."""
    each = {context.span_id: context for context in contexts}
    return [Link(context) for context in islice(each.values(), MAX_LINKS)]

"""Takes finished spans to a collector without ever waiting for it.

The SDK's batching processor exports from its own thread; in front of it stands a valve that
drops and counts what its bounded queue would not hold, so that a hung collector costs an integer
increment a span.  Spans that an export loses count as dropped too.
"""

import os
from collections.abc import Sequence

from opentelemetry.context import Context
from opentelemetry.sdk.environment_variables import (
    OTEL_BSP_MAX_EXPORT_BATCH_SIZE,
    OTEL_BSP_MAX_QUEUE_SIZE,
)
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from service.telemetry.tracing import OWN_SPAN

QUEUE_SPANS = 2048
"""Spans waiting for export, unless ``OTEL_BSP_MAX_QUEUE_SIZE`` says otherwise."""

BATCH_SPANS = 512
"""Most spans of one export, unless ``OTEL_BSP_MAX_EXPORT_BATCH_SIZE`` says otherwise."""


class _CountingExporter(SpanExporter):
    """Counts what the batching processor takes out of its queue, and what is lost after that."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.taken = 0
        self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._inner.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()


class BoundedSpanProcessor(SpanProcessor):
    """Batches finished spans for ``exporter``; drops and counts what does not fit.

    ``OTEL_BSP_*`` set the queue, the batches and the delay.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = _CountingExporter(exporter)
        self._limit = _size(OTEL_BSP_MAX_QUEUE_SIZE, QUEUE_SPANS)
        self._inner = BatchSpanProcessor(
            self._exporter,
            max_queue_size=self._limit,
            # the SDK refuses a batch above the queue, and its own default is above a short one
            max_export_batch_size=min(
                self._limit, _size(OTEL_BSP_MAX_EXPORT_BATCH_SIZE, BATCH_SPANS)
            ),
        )
        self._passed = 0
        self._refused = 0

    @property
    def dropped(self) -> int:
        """Finished spans that no collector has."""
        return self._refused + self._exporter.lost

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Nothing happens before a span has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue ``span``, or drop it; never waits."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._passed - self._exporter.taken >= self._limit:
            self._refused += 1
            return
        self._passed += 1
        self._inner.on_end(span)

    def shutdown(self) -> None:
        """Export what is queued; waits for the collector, so call it with a deadline outside."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # the SDK's gap

    def force_flush(self, timeout_millis: int | None = 30_000) -> bool:
        """Export what is queued now."""
        return self._inner.force_flush(timeout_millis)


class _RootSampler(Sampler):
    """Decides on spans without a parent.

    Ours have been picked already, by ratio, before they were made.  A library that instruments
    itself inside a handler is sampled by the same ratio.
    """

    def __init__(self, ratio: float) -> None:
        self._ratio = TraceIdRatioBased(ratio)

    def should_sample(  # noqa: PLR0917 -- the signature is the SDK's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        ours = attributes is not None and OWN_SPAN in attributes
        return (ALWAYS_ON if ours else self._ratio).should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return f"PickedOr{self._ratio.get_description()}"


def head_sampler(ratio: float) -> Sampler:
    """Follows the parent's decision; without one, ``ratio`` of the traces."""
    return ParentBased(_RootSampler(ratio))


def _size(variable: str, default: int) -> int:
    text = os.environ.get(variable, "")
    return int(text) if text.isdecimal() and int(text) > 0 else default

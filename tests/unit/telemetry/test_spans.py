import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.telemetry.spans import BoundedSpanProcessor, head_sampler
from service.telemetry.tracing import OWN_SPAN


class Collector(SpanExporter):
    """A collector that hangs until it is let go, and may refuse."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.refuses = False
        self.received = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.open.wait(30)
        if self.refuses:
            return SpanExportResult.FAILURE
        self.received += len(spans)
        return SpanExportResult.SUCCESS


def _provider(processor: BoundedSpanProcessor, ratio: float = 1.0) -> TracerProvider:
    provider = TracerProvider(sampler=head_sampler(ratio), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    return provider


@pytest.fixture
def small_queue(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "5")
    return 10


def test_a_collector_that_hangs_costs_spans_and_no_time(small_queue: int) -> None:
    collector = Collector()
    processor = BoundedSpanProcessor(collector)
    provider = _provider(processor)
    tracer = provider.get_tracer("test")

    for _ in range(1000):
        tracer.start_span("process", attributes={OWN_SPAN: "logs"}).end()
    dropped = processor.dropped
    collector.open.set()
    provider.shutdown()

    assert 1000 - small_queue - 5 <= dropped <= 1000 - small_queue
    assert collector.received == 1000 - dropped
    assert processor.dropped == dropped


def test_what_a_collector_refuses_is_dropped_too() -> None:
    collector = Collector()
    collector.open.set()
    collector.refuses = True
    processor = BoundedSpanProcessor(collector)
    provider = _provider(processor)

    provider.get_tracer("test").start_span("process", attributes={OWN_SPAN: "logs"}).end()
    provider.shutdown()

    assert processor.dropped == 1


def test_spans_that_were_picked_are_sampled_and_those_of_libraries_by_ratio() -> None:
    collector = Collector()
    collector.open.set()
    provider = _provider(BoundedSpanProcessor(collector), ratio=0.0)
    tracer = provider.get_tracer("test")

    tracer.start_span("process", attributes={OWN_SPAN: "logs"}).end()
    tracer.start_span("GET /user").end()
    provider.shutdown()

    assert collector.received == 1


def test_a_sampler_says_what_it_is() -> None:
    assert "PickedOr" in head_sampler(0.5).get_description()


def test_a_queue_that_is_shorter_than_a_batch_is_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.delenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", raising=False)
    collector = Collector()
    collector.open.set()

    provider = _provider(BoundedSpanProcessor(collector))
    for _ in range(50):
        provider.get_tracer("test").start_span("process", attributes={OWN_SPAN: "logs"}).end()
    provider.shutdown()

    assert collector.received == 50

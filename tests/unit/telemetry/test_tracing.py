from collections.abc import Iterator

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service.events import Headers, RecordBatch, SourceRecord
from service.telemetry import traceparent, tracing
from service.telemetry.tracing import Tracing

_SAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_UNSAMPLED = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


class Spans:
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def tracing(self, *, ratio: float = 0.0) -> Tracing:
        return Tracing(
            self.provider.get_tracer("test"), pipeline="logs", group="headrace-logs", ratio=ratio
        )

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def names(self) -> list[str]:
        return [span.name for span in self._exporter.get_finished_spans()]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    yield spans
    spans.provider.shutdown()


def _batch(*headers: Headers, partition: int = 0) -> RecordBatch:
    records = [
        SourceRecord(b"{}", offset=100 + number, headers=each)
        for number, each in enumerate(headers)
    ]
    return RecordBatch("logs.raw", partition, records, next_offset=100 + len(records))


def _with(value: bytes) -> Headers:
    return [("traceparent", value)]


def test_off_is_neither_enabled_nor_active() -> None:
    off = Tracing(None, ratio=1.0)

    assert not off.enabled
    assert not off.active


def test_only_records_whose_producer_sampled_them_are_traced(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch((), _with(_SAMPLED), _with(_UNSAMPLED), _with(b"nonsense"))

    tracing.begin(batch)
    tracing.completed(batch)

    processed = spans.named("process logs.raw")
    assert [span.attributes["messaging.kafka.offset"] for span in processed if span.attributes] == [
        101
    ]
    assert not tracing.active


def test_a_process_span_continues_the_trace_of_its_producer(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_SAMPLED), partition=3)

    tracing.begin(batch)
    tracing.completed(batch)

    (span,) = spans.named("process logs.raw")
    assert span.parent is not None
    assert traceparent.render(span.parent) == _SAMPLED
    assert span.kind is SpanKind.CONSUMER
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "logs.raw",
        "messaging.destination.partition.id": "3",
        "messaging.consumer.group.name": "headrace-logs",
        "messaging.kafka.offset": 100,
        "service.pipeline": "logs",
    }


def test_outputs_carry_the_span_of_their_record(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_SAMPLED))
    tracing.begin(batch)

    value = tracing.outgoing(batch, 0)
    tracing.completed(batch)

    (span,) = spans.named("process logs.raw")
    assert span.context is not None
    assert value == traceparent.render(span.context)


def test_outputs_of_an_untraced_record_carry_what_it_came_with(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_UNSAMPLED), ())

    tracing.begin(batch)

    assert tracing.outgoing(batch, 0) == _UNSAMPLED
    assert tracing.outgoing(batch, 1) is None


def test_a_header_without_a_value_is_no_context(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch([("traceparent", None)])  # type: ignore[list-item]  # Kafka allows it

    tracing.begin(batch)

    assert not tracing.active
    assert tracing.outgoing(batch, 0) is None


def test_a_second_has_room_for_so_many_traced_records_and_no_more(spans: Spans) -> None:
    now_s = 0.0
    tracing = Tracing(spans.provider.get_tracer("test"), ratio=1.0, clock=lambda: now_s)

    def traced_of(count: int) -> int:
        before = len(spans.named("process logs.raw"))
        batch = _batch(*[()] * count)
        tracing.begin(batch)
        tracing.completed(batch)
        return len(spans.named("process logs.raw")) - before

    assert traced_of(35) == 35
    assert traced_of(75) == 25
    assert traced_of(75) == 0
    now_s = 0.25
    assert traced_of(75) == 0  # too few are allowed by now for a look to be worth it
    now_s = 0.5
    assert traced_of(75) == 30
    now_s = 60.0
    assert traced_of(300) == 60


@pytest.mark.parametrize("size", [1, 3, 7, 100, 1000])
def test_the_ratio_holds_whatever_the_size_of_batches(spans: Spans, size: int) -> None:
    tracing = spans.tracing(ratio=0.01)
    sent = 0

    while sent < 2100:
        batch = _batch(*[()] * size)
        tracing.begin(batch)
        tracing.completed(batch)
        sent += size

    assert len(spans.named("process logs.raw")) == sent // 100


@pytest.mark.parametrize("ratio", [0.7, 0.4, 0.34, 0.03, 0.0015])
@pytest.mark.parametrize("size", [1, 7, 60])
def test_a_ratio_between_whole_steps_is_kept_on_average(
    spans: Spans, ratio: float, size: int
) -> None:
    now_s = 0.0
    tracing = Tracing(spans.provider.get_tracer("test"), ratio=ratio, clock=lambda: now_s)
    sent = 0

    while sent < 2100:
        now_s += 1  # else no more than so many a second are traced
        batch = _batch(*[()] * size)
        tracing.begin(batch)
        tracing.completed(batch)
        sent += size

    assert len(spans.named("process logs.raw")) == pytest.approx(sent * ratio, abs=1)


def test_the_ratio_respects_a_producer_that_did_not_sample(spans: Spans) -> None:
    tracing = spans.tracing(ratio=1.0)
    batch = _batch(_with(_UNSAMPLED), ())

    tracing.begin(batch)
    tracing.completed(batch)

    assert len(spans.named("process logs.raw")) == 1


def test_batches_are_linked_to_the_records_in_them(spans: Spans) -> None:
    tracing = spans.tracing(ratio=1.0)
    batch = _batch((), ())
    tracing.begin(batch)

    tracing.sent("alerts", [(batch, 0), (batch, 1), (batch, 1)], since_s=0.0)
    tracing.completed(batch)
    tracing.committed([("logs.raw", 0, 102)], since_s=0.0)

    processed = [span.context for span in spans.named("process logs.raw")]
    (send,) = spans.named("send alerts")
    (commit,) = spans.named("commit logs.raw")
    (poll,) = spans.named("poll logs.raw")
    assert [link.context for link in send.links] == processed
    assert [link.context for link in commit.links] == processed
    assert [link.context for link in spans.named("process logs.raw")[0].links] == [poll.context]
    assert send.parent == processed[0]


def test_requests_without_traced_records_have_no_spans(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(())

    tracing.begin(batch)
    tracing.sent("alerts", [(batch, 0)], since_s=0.0)
    tracing.completed(batch)
    tracing.committed([("logs.raw", 0, 101)], since_s=0.0)

    assert spans.names() == []


def test_a_dead_letter_is_an_error_with_its_code(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_SAMPLED))
    tracing.begin(batch)

    tracing.failed(batch, 0, "timeout", "no answer")
    tracing.completed(batch)

    (span,) = spans.named("process logs.raw")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["error.type"] == "timeout"


def test_a_handler_runs_inside_the_span_of_its_record(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_SAMPLED), ())
    tracing.begin(batch)

    with tracing.current(batch, 0):
        inside = trace.get_current_span()
    with tracing.current(batch, 1):
        beside = trace.get_current_span()

    assert inside is tracing.span(batch, 0)
    assert not beside.get_span_context().is_valid


def test_a_revoked_batch_ends_its_spans_and_is_forgotten(spans: Spans) -> None:
    tracing = spans.tracing()
    batch = _batch(_with(_SAMPLED))
    tracing.begin(batch)

    tracing.dropped(batch)
    tracing.completed(batch)

    (span,) = spans.named("process logs.raw")
    assert [event.name for event in span.events] == ["partition revoked"]
    assert not tracing.active


def test_traced_records_are_bounded(spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "MAX_ACTIVE", 3)
    traced = spans.tracing(ratio=1.0)
    first, second = _batch((), ()), _batch((), (), ())

    traced.begin(first)
    traced.begin(second)
    held = sum(len(each.spans) for each in traced.active.values())
    traced.completed(first)
    traced.completed(second)

    assert held == 3
    assert len(spans.named("process logs.raw")) == 3

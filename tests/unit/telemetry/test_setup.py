"""Telemetry against collectors on the loopback interface: one that answers, one that hangs."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from opentelemetry import metrics, trace
from structlog.testing import capture_logs

from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.telemetry.readings import Sources
from service.telemetry.setup import Telemetry
from tests.otlp import Receiver


@pytest.fixture(autouse=True)
def _no_global_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    # They can be set once per process only, and other tests want theirs.
    monkeypatch.setattr(trace, "set_tracer_provider", lambda _: None)
    monkeypatch.setattr(metrics, "set_meter_provider", lambda _: None)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    yield receiver
    receiver.close()


def _traced_record(telemetry: Telemetry) -> None:
    tracing = telemetry.tracing("logs", group="g")
    batch = RecordBatch("logs.raw", 0, [SourceRecord(b"{}", offset=5)], next_offset=6)
    tracing.begin(batch)
    tracing.completed(batch)


def test_without_an_endpoint_tracing_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    telemetry = Telemetry(traces_sample_ratio=1.0)

    assert not telemetry.tracing("logs").enabled
    assert b"service_build" in telemetry.exposition(Sources(version="1"))()
    assert telemetry.close()


def test_spans_and_metrics_reach_the_receiver(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    counters = PipelineCounters("logs")
    counters.records_in = 7
    counters.record_latency(0.01, 7)
    telemetry = Telemetry(version="1.2.3", traces_sample_ratio=1.0)
    telemetry.exposition(Sources(counters=lambda: [counters]))

    _traced_record(telemetry)
    assert telemetry.close(deadline_s=10)

    resource = receiver.traces[0].resource_spans[0]
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == "headrace"
    assert attributes["service.version"] == "1.2.3"
    assert attributes["deployment.environment.name"] == "test"
    assert {span.name for span in resource.scope_spans[0].spans} == {
        "poll logs.raw",
        "process logs.raw",
    }
    pushed = {
        metric.name: metric
        for scope in receiver.metrics[-1].resource_metrics[0].scope_metrics
        for metric in scope.metrics
    }
    assert pushed["messaging.client.consumed.messages"].sum.data_points[0].as_int == 7
    assert pushed["service.record.latency"].histogram.data_points[0].count == 7


def test_the_name_of_the_service_is_the_operators(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "alerts-eu")
    telemetry = Telemetry(traces_sample_ratio=1.0)

    _traced_record(telemetry)
    telemetry.close(deadline_s=10)

    names = [
        each.value.string_value
        for each in receiver.traces[0].resource_spans[0].resource.attributes
        if each.key == "service.name"
    ]
    assert names == ["alerts-eu"]


def test_a_collector_that_never_answers_does_not_delay_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{hung.getsockname()[1]}"
        )
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        telemetry = Telemetry(traces_sample_ratio=1.0)
        began_s = time.monotonic()

        for _ in range(100):
            _traced_record(telemetry)
        made_s = time.monotonic() - began_s
        ended = telemetry.close(deadline_s=0.2)
        took_s = time.monotonic() - began_s

        assert made_s < 1.0
        assert not ended
        assert took_s < 2.0

    give_up_s = time.monotonic() + 10
    while telemetry.spans_dropped() == 0 and time.monotonic() < give_up_s:
        time.sleep(0.01)  # for the exporter's own deadline
    assert telemetry.spans_dropped() == 200


@pytest.mark.parametrize(
    ("variable", "value", "what"),
    [
        ("OTEL_BSP_SCHEDULE_DELAY", "0", "traces"),
        ("OTEL_ATTRIBUTE_COUNT_LIMIT", "many", "traces"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "metrics"),
        ("OTEL_METRICS_EXEMPLAR_FILTER", "some", "metrics"),
    ],
)
def test_a_variable_that_the_sdk_refuses_costs_telemetry_and_not_the_service(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, what: str
) -> None:
    monkeypatch.setenv(variable, value)

    with capture_logs() as logs:
        telemetry = Telemetry(traces_sample_ratio=1.0)
        text = telemetry.exposition(Sources(version="1"))()
    _traced_record(telemetry)
    assert telemetry.close(deadline_s=10)

    failed = [entry["what"] for entry in logs if entry["event"] == "telemetry not started"]
    assert failed == [what]
    assert b"service_build" in text
    assert (receiver.traces == []) == (what == "traces")
    assert (receiver.metrics == []) == (what == "metrics")
    assert "OtelPeriodicExportingMetricReader" not in {each.name for each in threading.enumerate()}


def test_a_protocol_that_is_not_spoken_is_told(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    del receiver
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")

    with capture_logs() as logs:
        Telemetry().close(deadline_s=10)

    told = [entry for entry in logs if entry["event"] == "only one protocol is spoken"]
    assert [entry["variable"] for entry in told] == ["OTEL_EXPORTER_OTLP_PROTOCOL"]


@pytest.mark.parametrize(
    ("sampler", "argument", "expected"),
    [
        ("alwayson", "", [("OTEL_TRACES_SAMPLER", 0.25)]),
        ("traceidratio", "1%", [("OTEL_TRACES_SAMPLER_ARG", 1.0)]),
        ("parentbased_traceidratio", "5", [("OTEL_TRACES_SAMPLER_ARG", 1.0)]),
        ("traceidratio", "0.01", []),
        ("traceidratio", "", []),
        ("", "", []),
    ],
)
def test_a_sampler_that_is_not_understood_is_told(
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    argument: str,
    expected: list[tuple[str, float]],
) -> None:
    del receiver
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", argument)

    with capture_logs() as logs:
        Telemetry(traces_sample_ratio=0.25).close(deadline_s=10)

    told = [entry for entry in logs if entry["event"] == "sampler not understood"]
    assert [(entry["variable"], entry["ratio"]) for entry in told] == expected

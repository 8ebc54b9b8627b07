"""Telemetry of a running service, from the outside: a trace, a collector and a log that hang."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from websockets.asyncio.client import connect

from tests.kafka.client import Kafka
from tests.otlp import Receiver
from tests.service_process import ServiceProcess, log_pipeline, user_environ

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
async def config(kafka: Kafka) -> dict[str, Any]:
    return log_pipeline(
        source=await kafka.create_topic(kafka.unique("logs"), 1),
        output=await kafka.create_topic(kafka.unique("alerts"), 1),
        dead_letter=await kafka.create_topic(kafka.unique("dead"), 1),
        group=kafka.unique("group"),
    )


def _topics(config: dict[str, Any]) -> tuple[str, str]:
    logs = config["pipelines"]["logs"]
    return logs["sources"]["kafka"]["topics"][0], logs["handlers"]["alerts"]["output"]


def _error(message: str) -> bytes:
    return orjson.dumps({"level": "ERROR", "message": message})


def _named(spans: list[Span], name: str) -> list[Span]:
    return [span for span in spans if span.name == name]


async def test_one_trace_spans_producer_service_and_output(
    kafka: Kafka, config: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    source, output = _topics(config)
    producer = TracerProvider(shutdown_on_exit=False)
    producer.add_span_processor(
        SimpleSpanProcessor(OTLPSpanExporter(endpoint=f"{receiver.url}/v1/traces"))
    )
    carrier: dict[str, str] = {}
    tracer = producer.get_tracer("shop")
    with tracer.start_as_current_span(f"send {source}", kind=SpanKind.PRODUCER):
        TraceContextTextMapPropagator().inject(carrier)
    traceparent = carrier["traceparent"].encode()

    await kafka.produce(
        source,
        [
            (b"k", _error("not traced")),
            (b"k", _error("traced"), [("traceparent", traceparent)]),
            (b"k", _error("not sampled"), [("traceparent", traceparent[:-1] + b"0")]),
        ],
    )
    async with ServiceProcess(
        kafka.bootstrap,
        config,
        tmp_path,
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
    ) as service:
        alerts = await kafka.consume(output, 3)
        exit_code = await service.terminate()

    spans = await asyncio.to_thread(receiver.spans)
    (sent,) = _named(spans, f"send {source}")
    (processed,) = _named(spans, f"process {source}")
    (polled,) = _named(spans, f"poll {source}")
    (published,) = _named(spans, f"send {output}")
    (committed,) = _named(spans, f"commit {source}")
    assert processed.trace_id == published.trace_id == sent.trace_id
    assert processed.parent_span_id == sent.span_id
    assert published.parent_span_id == processed.span_id
    assert [link.span_id for link in polled.links] == [sent.span_id]
    assert [link.span_id for link in committed.links] == [processed.span_id]
    assert processed.start_time_unix_nano <= published.end_time_unix_nano
    assert [alert.header("traceparent") for alert in alerts] == [
        None,
        # 02 beside 01 says that the trace's identifier is random
        f"00-{processed.trace_id.hex()}-{processed.span_id.hex()}-03".encode(),
        traceparent[:-1] + b"0",
    ]
    assert exit_code == 0


async def test_a_trace_goes_in_and_out_over_websockets(
    kafka: Kafka, config: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    _, output = _topics(config)
    config["pipelines"]["logs"]["sources"]["websocket"] = {"path": "/ingest/logs"}
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    trace_id, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    message = {
        "id": 1,
        "event": {"level": "ERROR", "message": "traced"},
        "traceparent": f"00-{trace_id}-{parent}-01",
    }
    async with (
        asyncio.timeout(60),
        ServiceProcess(kafka.bootstrap, config, tmp_path, environment=environment) as service,
    ):
        await service.wait_logged("partition ready")
        url = str(service.events("public port open")[-1]["url"])
        public = url.replace("http", "ws").rstrip("/")
        async with (
            connect(f"{public}/subscribe") as dashboard,
            connect(f"{public}/ingest/logs") as producer,
        ):
            await dashboard.send(
                orjson.dumps({"type": "subscribe", "id": 1, "topic": output}).decode()
            )
            subscribed = orjson.loads(await dashboard.recv())
            await producer.send(orjson.dumps(message).decode())
            acknowledged = orjson.loads(await producer.recv())
            shown = orjson.loads(await dashboard.recv())
        await service.terminate()

    spans = await asyncio.to_thread(receiver.spans)
    (processed,) = [span for span in spans if span.name.startswith("process ")]
    assert subscribed["type"] == "subscribed"
    assert acknowledged == {"type": "ack", "id": 1}
    assert processed.trace_id.hex() == trace_id
    assert processed.parent_span_id.hex() == parent
    assert shown["events"][0]["traceparent"].startswith(f"00-{trace_id}-{processed.span_id.hex()}-")


async def test_metrics_are_pushed_and_pulled_alike(
    kafka: Kafka, config: dict[str, Any], receiver: Receiver, tmp_path: Path
) -> None:
    source, output = _topics(config)
    await kafka.produce(source, [(None, _error(str(number))) for number in range(50)])

    async with ServiceProcess(
        kafka.bootstrap,
        config,
        tmp_path,
        environment={"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url},
    ) as service:
        await kafka.consume(output, 50)
        _, scraped = await service.get("/metrics")
        await service.terminate()

    pushed = {
        metric.name: metric
        for resource in receiver.metrics[-1].resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert pushed["messaging.client.consumed.messages"].sum.data_points[0].as_int == 50
    assert pushed["service.record.latency"].histogram.data_points[0].count == 50
    assert b'messaging_client_consumed_messages_total{service_pipeline="logs"} 50.0' in scraped


async def test_a_collector_that_hangs_delays_neither_events_nor_the_end(
    kafka: Kafka, config: dict[str, Any], tmp_path: Path
) -> None:
    source, output = _topics(config)
    with socket.create_server(("127.0.0.1", 0)) as hung:
        environment = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{hung.getsockname()[1]}",
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_MAX_QUEUE_SIZE": "16",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "8",
        }
        async with ServiceProcess(
            kafka.bootstrap, config, tmp_path, environment=environment
        ) as service:
            await service.wait_logged("partition ready")
            await kafka.produce(source, [(None, _error(str(number))) for number in range(5000)])
            await kafka.consume(output, 5000, timeout_s=10)
            _, metrics = await service.get("/metrics")
            exit_code = await service.terminate(timeout_s=10)

    assert exit_code == 0
    assert service.events("stopped")[0]["drained"] is True
    dropped = [line for line in metrics.splitlines() if line.startswith(b"service_trace_dropped")]
    assert float(dropped[0].split()[-1]) > 0


async def test_a_log_that_nobody_reads_stops_nothing(
    kafka: Kafka, config: dict[str, Any], tmp_path: Path
) -> None:
    source, output = _topics(config)
    config_file = tmp_path / "service.yaml"
    config_file.write_bytes(orjson.dumps(config))  # JSON is YAML
    read_fd, write_fd = _full_pipe()
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service", "run", "--config", str(config_file)),
            stdout=write_fd,
            stderr=write_fd,
            env={**user_environ(), "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap},
        )
        await kafka.produce(source, [(None, _error(str(number))) for number in range(1000)])
        alerts = await kafka.consume(output, 1000, timeout_s=30)
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            exit_code = await process.wait()
    finally:
        os.close(read_fd)
        os.close(write_fd)

    assert len(alerts) == 1000
    assert exit_code == 0


def _full_pipe() -> tuple[int, int]:
    """A pipe into which not one byte more can be written, and whose writers block."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(write_fd, b"x")
    os.set_blocking(write_fd, True)
    return read_fd, write_fd

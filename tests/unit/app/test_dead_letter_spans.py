import asyncio
from collections.abc import Callable
from typing import Any, cast

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.app import Application
from service.errors import PermanentError
from service.handlers import handler
from service.settings import Settings
from service.telemetry import Telemetry
from service.telemetry.tracing import Tracing
from service.testing.broker import MemoryBroker
from service.testing.harness import MemoryBrokers, pipeline_of


@handler("dead_letter_spans_refusing")
def refusing(event: Any) -> dict[str, Any]:
    if event.data["n"]:
        raise PermanentError("no")
    return {}


class Everything:
    """Telemetry that traces every record, into memory."""

    def __init__(self) -> None:
        self.spans = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self.spans))

    def tracing(self, pipeline: str, *, group: str, clock: Callable[[], float]) -> Tracing:
        tracer = self._provider.get_tracer("test")
        return Tracing(tracer, pipeline=pipeline, group=group, ratio=1.0, clock=clock)


async def test_a_dead_letter_has_a_send_span_as_a_result_has() -> None:
    broker = MemoryBroker()
    for topic in ("input", "output", "dead"):
        broker.create_topic(topic, 1)
    for n in (0, 1):
        broker.produce("input", b'{"n":%d}' % n)
    telemetry = Everything()
    service = Application(
        Settings.model_validate(pipeline_of(refusing)),
        cast("Telemetry", telemetry),
        brokers=MemoryBrokers(broker),
    )
    asyncio.get_running_loop().call_later(5, service.request_drain)

    await service.run()

    spans = telemetry.spans.get_finished_spans()
    processed = {
        span.attributes["messaging.kafka.offset"]: span.context
        for span in spans
        if span.name == "process input" and span.attributes
    }
    sent = {span.name: span.parent for span in spans if span.name.startswith("send ")}
    assert sent == {"send output": processed[0], "send dead": processed[1]}

"""Puts telemetry together: who makes spans, who exports what, and how it ends.

Nothing here waits for a collector: exporters work in daemon threads behind bounded queues, and
:meth:`Telemetry.close` gives them a deadline and then leaves them.
"""

import os
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from service.telemetry.exposition import Exposition
from service.telemetry.instruments import HistogramExporter, create_instruments
from service.telemetry.otel_env import (
    PROTOCOL,
    misunderstood_sampler,
    pushes_metrics,
    pushes_traces,
    sample_ratio,
    unspoken_protocols,
)
from service.telemetry.readings import Sources
from service.telemetry.spans import BoundedSpanProcessor, head_sampler
from service.telemetry.tracing import Tracing

SERVICE_NAME = "headrace"
"""``service.name`` unless ``OTEL_SERVICE_NAME`` or ``OTEL_RESOURCE_ATTRIBUTES`` says otherwise."""

_SCOPE = "headrace"

_log = structlog.get_logger(__name__)


class Telemetry:
    """Traces and metrics of this process, as the ``OTEL_*`` variables ask for them.

    Args:
        version: Version of the service.
        traces_sample_ratio: As in the settings; ``OTEL_TRACES_SAMPLER`` wins.
    """

    def __init__(self, *, version: str = "", traces_sample_ratio: float = 0.0) -> None:
        self._version = version
        self._ratio = sample_ratio(os.environ, traces_sample_ratio)
        self._resource = _resource(version)
        self._spans: BoundedSpanProcessor | None = None
        self._tracers: TracerProvider | None = None
        self._meters: MeterProvider | None = None
        if pushes_traces(os.environ):
            variable = misunderstood_sampler(os.environ)
            if variable is not None:
                _log.warning("sampler not understood", variable=variable, ratio=self._ratio)
            self._start("traces", self._start_traces)
        if pushes_traces(os.environ) or pushes_metrics(os.environ):
            for variable in unspoken_protocols(os.environ):
                _log.warning("only one protocol is spoken", variable=variable, spoken=PROTOCOL)

    def tracing(
        self, pipeline: str, *, group: str = "", clock: Callable[[], float] = time.monotonic
    ) -> Tracing:
        """The tracing of one pipeline; off unless spans are exported."""
        tracer = None if self._tracers is None else self._tracers.get_tracer(_SCOPE, self._version)
        return Tracing(tracer, pipeline=pipeline, group=group, ratio=self._ratio, clock=clock)

    def spans_dropped(self) -> int:
        """Finished spans that no collector has; a number for :class:`Sources`."""
        return 0 if self._spans is None else self._spans.dropped

    def exposition(self, sources: Sources) -> Callable[[], bytes]:
        """Start pushing metrics if that is asked for, and give the writer of ``/metrics``."""
        if pushes_metrics(os.environ):
            self._start("metrics", partial(self._start_metrics, sources))
        return Exposition(sources).text

    def close(self, deadline_s: float = 2.0) -> bool:
        """Export what is left, for at most ``deadline_s`` seconds in all.

        Returns:
            Whether everything ended in time; a hung collector keeps the rest.
        """
        ending = threading.Thread(target=self._shutdown, name="telemetry-close", daemon=True)
        ending.start()
        ending.join(deadline_s)
        return not ending.is_alive()

    def _start(self, what: str, start: Callable[[], None]) -> None:
        """Call ``start``; a variable that the SDK refuses costs ``what``, and not the service."""
        try:
            start()
        except ValueError as error:
            _log.error("telemetry not started", what=what, error=str(error))

    def _start_traces(self) -> None:
        spans = BoundedSpanProcessor(OTLPSpanExporter())
        # Not shutdown_on_exit: its hook would wait half a minute for a hung collector.
        tracers = TracerProvider(
            sampler=head_sampler(self._ratio), resource=self._resource, shutdown_on_exit=False
        )
        tracers.add_span_processor(spans)
        self._spans, self._tracers = spans, tracers
        trace.set_tracer_provider(self._tracers)  # for libraries inside handlers
        _log.info("traces are exported", ratio=self._ratio)

    def _start_metrics(self, sources: Sources) -> None:
        # The reader's thread runs from its making on, so a provider that would refuse a variable
        # has to do so before there is one: it would warn every minute for as long as we live.
        MeterProvider(shutdown_on_exit=False)
        reader = PeriodicExportingMetricReader(HistogramExporter(sources))
        self._meters = MeterProvider(
            metric_readers=[reader], resource=self._resource, shutdown_on_exit=False
        )
        create_instruments(self._meters.get_meter(_SCOPE, self._version), sources)
        metrics.set_meter_provider(self._meters)
        _log.info("metrics are pushed")

    def _shutdown(self) -> None:
        if self._tracers is not None:
            self._tracers.shutdown()
        if self._meters is not None:
            self._meters.shutdown()


def _resource(version: str) -> Resource:
    """What the variables say of this process; our name where they say none."""
    resource = Resource.create({"service.version": version} if version else {})
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        return resource.merge(Resource({"service.name": SERVICE_NAME}))
    return resource

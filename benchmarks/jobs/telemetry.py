"""What telemetry costs: the log job with traces and metrics on, off, and with a hung collector."""

from collections.abc import Callable
from dataclasses import replace

from benchmarks.harness.model import Command, Contender, Place
from benchmarks.jobs import logs
from benchmarks.jobs.collectors import accepting, hanging, slow
from benchmarks.jobs.commands import headrace
from benchmarks.jobs.latency import JOB as LATENCY

PUSH_INTERVAL_MS = 5_000
"""Of metrics; the standard's default is a minute, which a run would not see."""


def _exporting(collector: Callable[[], str]) -> Command:
    """One trace in a hundred records, and metrics every five seconds, to ``collector``."""
    run = headrace(logs.pipeline)

    def command(place: Place) -> list[str]:
        return [
            "env",
            f"OTEL_EXPORTER_OTLP_ENDPOINT={collector()}",
            "OTEL_TRACES_SAMPLER=parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG=0.01",
            f"OTEL_METRIC_EXPORT_INTERVAL={PUSH_INTERVAL_MS}",
            *run(place),
        ]

    return command


_CONTENDERS = (
    Contender(name="telemetry off", command=headrace(logs.pipeline)),
    Contender(name="metrics and 1 % traces", command=_exporting(accepting)),
    Contender(name="the same, collector hung", command=_exporting(hanging)),
)

_SLOW = Contender(name="the same, collector slow", command=_exporting(slow))

JOB = replace(
    logs.JOB,
    name="telemetry",
    title="Telemetry: the log job with traces and pushed metrics",
    contenders=_CONTENDERS,
)

LATENCY_JOB = replace(
    LATENCY,
    name="telemetry_latency",
    title="Telemetry: latency at a steady rate",
    rates=(1_000,),
    contenders=(*_CONTENDERS, _SLOW),
)

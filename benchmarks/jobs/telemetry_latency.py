"""What telemetry costs in latency, as :mod:`benchmarks.jobs.telemetry` says."""

from benchmarks.jobs.telemetry import LATENCY_JOB as JOB

__all__ = ["JOB"]

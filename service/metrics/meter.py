"""Rates and latency quantiles of one pipeline over a sliding window.

A reader's tool: it looks at the counters each time it is told the time, remembers what it saw,
and answers with differences.  The hot path does not know that it exists.
"""

from collections import deque
from dataclasses import dataclass

from service.metrics.counters import PipelineCounters
from service.metrics.histogram import quantile_of
from service.metrics.status import LatencyStatus

RATE_WINDOW_S = 10.0
"""Rates look this far back: long enough to be calm, short enough to see a stall."""

LATENCY_WINDOW_S = 60.0
"""Latency quantiles look this far back."""

_LATENCY_STEP_S = 5.0
"""How often the latency buckets are copied; the window is precise to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Events per second and latency of the recent past."""

    rate_in: float
    rate_out: float
    latency_ms: LatencyStatus


class PipelineMeter:
    """Turns the counters of one pipeline into rates.

    Args:
        counters: What to look at.
    """

    def __init__(self, counters: PipelineCounters) -> None:
        self._counters = counters
        self._totals: deque[tuple[float, int, int]] = deque()
        self._latencies: deque[tuple[float, list[int]]] = deque()

    def read(self, now_s: float) -> Reading:
        """Look at the counters and answer for the recent past.

        Args:
            now_s: A monotonic clock, in seconds; never less than in the call before.
        """
        rate_in, rate_out = self._rates(now_s)
        return Reading(rate_in=rate_in, rate_out=rate_out, latency_ms=self._latency(now_s))

    def _rates(self, now_s: float) -> tuple[float, float]:
        counters, seen = self._counters, self._totals
        seen.append((now_s, counters.records_in, counters.results_out))
        while len(seen) > 1 and seen[1][0] <= now_s - RATE_WINDOW_S:
            seen.popleft()
        then_s, records_in, results_out = seen[0]
        elapsed_s = now_s - then_s
        if elapsed_s <= 0:
            return 0.0, 0.0
        return (
            (counters.records_in - records_in) / elapsed_s,
            (counters.results_out - results_out) / elapsed_s,
        )

    def _latency(self, now_s: float) -> LatencyStatus:
        seen = self._latencies
        counts = list(self._counters.latency.counts)
        if not seen or now_s - seen[-1][0] >= _LATENCY_STEP_S:
            seen.append((now_s, counts))
        while len(seen) > 1 and seen[1][0] <= now_s - LATENCY_WINDOW_S:
            seen.popleft()
        before = seen[0][1]
        recent = [count - old for count, old in zip(counts, before, strict=True)]
        return LatencyStatus(
            p50=quantile_of(recent, 0.5) * 1000, p99=quantile_of(recent, 0.99) * 1000
        )

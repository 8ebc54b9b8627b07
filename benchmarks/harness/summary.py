"""From single runs to what the report says: medians, spread and ratios."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.harness.model import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The good runs of one contender.

    Args:
        name: The contender.
        runs: Number of good runs.
        events_per_s: Median.
        spread: Half the range of events/s over its median; 0.05 means about +-5 %.
        cpu_s_per_million: Median.
        peak_rss_mb: Largest of all runs.
        broker_cpu_s_per_million: Median.
        ratio: Median of the reference over this one's: how many times faster the reference is.
        problems: What went wrong in runs that do not count.
        note: The contender's note.
    """

    name: str
    runs: int
    events_per_s: float
    spread: float
    cpu_s_per_million: float
    peak_rss_mb: float
    broker_cpu_s_per_million: float
    ratio: float | None
    problems: tuple[str, ...]
    note: str


def summarize(name: str, note: str, runs: Sequence[Run], reference: Sequence[Run]) -> Summary:
    """The figures of one contender, compared with the good runs of the reference."""
    good = [run for run in runs if not run.problem]
    base = [run.events_per_s for run in reference if not run.problem]
    rates = [run.events_per_s for run in good]
    middle = median(rates) if rates else 0.0
    return Summary(
        name=name,
        note=note,
        runs=len(good),
        events_per_s=middle,
        spread=(max(rates) - min(rates)) / 2 / middle if rates else 0.0,
        cpu_s_per_million=median(run.cpu_s_per_million for run in good) if good else 0.0,
        peak_rss_mb=max((run.peak_rss_mb for run in good), default=0.0),
        broker_cpu_s_per_million=(
            median(run.broker_cpu_s_per_million for run in good) if good else 0.0
        ),
        ratio=median(base) / middle if base and rates else None,
        problems=tuple(run.problem for run in runs if run.problem),
    )

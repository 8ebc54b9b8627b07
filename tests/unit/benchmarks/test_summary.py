"""Medians, spread and ratios, and that a failed run counts for nothing."""

import pytest

from benchmarks.harness.model import Run
from benchmarks.harness.report import chart, markdown
from benchmarks.harness.summary import summarize

FAST = [Run(events_per_s=rate, cpu_s_per_million=2.0, peak_rss_mb=100.0) for rate in (90, 100, 120)]
SLOW = [Run(events_per_s=50.0), Run(events_per_s=1e9, problem="1 output missing")]


def test_the_median_and_half_the_range_are_reported() -> None:
    summary = summarize("fast", "", FAST, FAST)

    assert (summary.events_per_s, summary.spread, summary.ratio) == (100, 0.15, 1.0)


def test_a_run_with_a_problem_counts_for_nothing_and_is_named() -> None:
    summary = summarize("slow", "", SLOW, FAST)

    assert (summary.runs, summary.events_per_s, summary.ratio) == (1, 50.0, 2.0)
    assert summary.problems == ("1 output missing",)


def test_without_a_good_run_there_is_no_ratio() -> None:
    summary = summarize("none", "", [Run(problem="stalled")], FAST)

    assert (summary.runs, summary.ratio) == (0, None)


def test_the_table_is_ordered_by_rate_and_shows_failures() -> None:
    summaries = [
        summarize("none", "", [Run(problem="stalled")], FAST),
        summarize("slow", "a note", SLOW, FAST),
        summarize("fast", "", FAST, FAST),
    ]

    text = markdown("Title", "conditions", summaries)

    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["fast", "slow", "none"]
    assert "- slow: a note" in text
    assert "- none: stalled" in text


def test_the_longest_bar_is_the_fastest_contender() -> None:
    picture = chart("Title", [summarize("fast & good", "", FAST, FAST)])

    assert "fast &amp; good" in picture
    assert "width='430.0'" in picture


def test_a_chart_without_a_good_run_has_no_bars() -> None:
    assert "rect x=" not in chart("Title", [summarize("none", "", [Run(problem="x")], FAST)])


@pytest.mark.parametrize("rates", [[100.0], [100.0, 100.0]], ids=["one run", "equal runs"])
def test_equal_runs_have_no_spread(rates: list[float]) -> None:
    runs = [Run(events_per_s=rate) for rate in rates]

    assert summarize("x", "", runs, runs).spread == 0.0

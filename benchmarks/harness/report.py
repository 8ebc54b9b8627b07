"""The report of a job as Markdown and as a bar chart in SVG, made of nothing but text."""

from collections.abc import Sequence
from html import escape

from benchmarks.harness.summary import Summary

_COLUMNS = (
    "contender",
    "events/s",
    "spread",
    "reference is",
    "CPU s / M events",
    "peak RSS MB",
    "broker CPU s / M",
    "runs",
)
_BAR_HEIGHT = 22
_GAP = 8
_LABEL_WIDTH = 230
_BAR_WIDTH = 430
_HEADING = 36
_FONT = "font-family='system-ui, sans-serif' font-size='13'"


def markdown(title: str, conditions: str, summaries: Sequence[Summary]) -> str:
    """One table, fastest first, and what is to know about it."""
    lines = [
        f"# {title}",
        "",
        conditions,
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|---|{'---:|' * (len(_COLUMNS) - 1)}",
    ]
    lines += [_row(summary) for summary in fastest_first(summaries)]
    notes = [f"- {s.name}: {s.note}" for s in summaries if s.note]
    failures = [f"- {s.name}: {problem}" for s in summaries for problem in s.problems]
    if notes:
        lines += ["", *notes]
    if failures:
        lines += ["", "Runs that do not count:", "", *failures]
    return "\n".join(lines) + "\n"


def chart(title: str, summaries: Sequence[Summary]) -> str:
    """A horizontal bar for each contender, fastest first, as an SVG document."""
    ranked = [summary for summary in fastest_first(summaries) if summary.runs]
    top = max((summary.events_per_s for summary in ranked), default=1.0)
    height = _HEADING + 4 + len(ranked) * (_BAR_HEIGHT + _GAP)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='780' height='{height}' {_FONT}>",
        f"<title>{escape(title)}</title>",
        "<rect width='100%' height='100%' fill='white'/>",
        f"<text x='10' y='22' font-weight='bold'>{escape(title)}</text>",
    ]
    for index, summary in enumerate(ranked):
        parts += _bar(summary, _HEADING + index * (_BAR_HEIGHT + _GAP), top)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _bar(summary: Summary, y: int, top: float) -> tuple[str, str, str]:
    width = max(1.0, _BAR_WIDTH * summary.events_per_s / top)
    colour = "#0b6e4f" if summary.name.startswith("headrace") else "#9aa5b1"
    at, name = _LABEL_WIDTH - 8, escape(summary.name)
    value_at, rate = _LABEL_WIDTH + width + 6, f"{round(summary.events_per_s):,}/s"
    box = f"x='{_LABEL_WIDTH}' y='{y}' width='{width:.1f}' height='{_BAR_HEIGHT}'"
    return (
        f"<text x='{at}' y='{y + 16}' text-anchor='end'>{name}</text>",
        f"<rect {box} fill='{colour}'/>",
        f"<text x='{value_at:.1f}' y='{y + 16}'>{rate}</text>",
    )


def fastest_first(summaries: Sequence[Summary]) -> list[Summary]:
    """Those with figures by rate, then those without."""
    return sorted(summaries, key=lambda summary: -summary.events_per_s)


def _row(summary: Summary) -> str:
    if not summary.runs:
        return f"| {summary.name} | failed | | | | | | 0 |"
    ratio = f"{summary.ratio:.2f} x" if summary.ratio is not None else ""
    return (
        f"| {summary.name} | {round(summary.events_per_s):,} | ±{summary.spread:.0%} | {ratio} "
        f"| {summary.cpu_s_per_million:.2f} | {summary.peak_rss_mb:.0f} "
        f"| {summary.broker_cpu_s_per_million:.2f} | {summary.runs} |"
    )

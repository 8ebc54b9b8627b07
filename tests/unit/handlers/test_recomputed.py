"""What the handlers with windows and baselines say, computed again by NumPy from definitions.

The service adds up one value at a time as it arrives; here every figure is taken from the whole
series at once: windows by arithmetic on their bounds, figures by NumPy's own functions, weighted
means by their weights.  The series has disorder, duplicates and events that are too late.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pytest

from service.handlers import load_handler
from service.testing.harness import Harness, pipeline_of

load_handler("rolling_metrics")  # importing reads files, which a coroutine must not do
load_handler("anomaly")

_START_MS = 1_700_000_000_000
_ACCURACY = 0.01 * (1 + 1e-9)

Ints: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Found: TypeAlias = dict[tuple[str, int | None, int | None], Floats]
"""Values by key, start and end of a window."""


class Series(NamedTuple):
    """Events in the order of their arrival."""

    keys: Ints
    at_ms: Ints
    values: Floats

    def data(self) -> Iterator[dict[str, Any]]:
        for key, at_ms, value in zip(*(column.tolist() for column in self), strict=True):
            yield {"k": f"k{key}", "t": at_ms, "v": value}

    def watermarks(self, lateness_ms: int) -> Ints:
        """The watermark that each event meets."""
        newest = np.maximum.accumulate(self.at_ms)
        return np.concatenate([[-(2**62)], newest[:-1] - lateness_ms])

    def by_key(self) -> dict[str, "Series"]:
        numbers: list[int] = np.unique(self.keys).tolist()
        return {f"k{number}": self.choose(self.keys == number) for number in numbers}

    def choose(self, wanted: npt.NDArray[np.bool_]) -> "Series":
        return Series(self.keys[wanted], self.at_ms[wanted], self.values[wanted])


def generated(seed: int, *, count: int = 3_000, disorder_ms: int = 4_000) -> Series:
    """Some keys over a minute: up to ``disorder_ms`` out of order, 3 % twice, 1 % far too old."""
    rng = np.random.default_rng(seed)
    at_ms = _START_MS + np.cumsum(rng.integers(0, 40, count)) - rng.integers(0, disorder_ms, count)
    at_ms[rng.random(count) < 0.01] -= 1_000_000
    values = rng.lognormal(3, 1, count) * rng.choice([-1, 1, 1, 1], count)
    order = np.sort(np.concatenate([np.arange(count), rng.choice(count, count * 3 // 100)]))
    return Series(rng.integers(0, 20, count)[order], at_ms[order], values[order])


def grouped(keys: Ints, starts: Ints, values: Floats, size_ms: int) -> Found:
    """Values by key and start."""
    windows, place = np.unique(np.stack([keys, starts]), axis=1, return_inverse=True)
    return {
        (f"k{key}", start, start + size_ms): values[place == number]
        for number, (key, start) in enumerate(windows.T.tolist())
    }


def hopping(series: Series, size_ms: int, advance_ms: int, lateness_ms: int) -> tuple[Found, int]:
    """The windows, and how many events are in none."""
    marks = series.watermarks(lateness_ms)
    keys, starts, values = [], [], []
    in_time = np.zeros(len(series.keys), dtype=bool)
    for hop in range(size_ms // advance_ms):
        start = series.at_ms // advance_ms * advance_ms - hop * advance_ms
        inside = start + size_ms > marks
        in_time |= inside
        keys.append(series.keys[inside])
        starts.append(start[inside])
        values.append(series.values[inside])
    found = grouped(np.concatenate(keys), np.concatenate(starts), np.concatenate(values), size_ms)
    return found, int((~in_time).sum())


def sessions(series: Series, gap_ms: int) -> Found:
    """The runs of each key without a pause above ``gap_ms``, nothing of it late."""
    found: Found = {}
    for key, mine in series.by_key().items():
        order = np.argsort(mine.at_ms, kind="stable")
        at_ms, values = mine.at_ms[order], mine.values[order]
        for run in np.split(np.arange(len(order)), np.flatnonzero(np.diff(at_ms) > gap_ms) + 1):
            found[key, int(at_ms[run[0]]), int(at_ms[run[-1]]) + gap_ms] = values[run]
    return found


def check(report: dict[str, Any], values: Floats) -> None:
    """The report's figures are those of ``values``."""
    assert report["count"] == values.size
    assert report["min"] == values.min()
    assert report["max"] == values.max()
    assert report["mean"] == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    if values.size > 1:
        assert report["std"] == pytest.approx(values.std(ddof=1), rel=1e-9, abs=1e-9)
    else:
        assert report["std"] is None
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        exact = np.quantile(values, share, method="lower")
        assert abs(report[name] - exact) <= _ACCURACY * abs(exact), name


async def told(series: Series, **options: Any) -> tuple[list[dict[str, Any]], list[Any]]:
    """Reports of the windows, and late events; half a minute after the last event."""
    names = {"key": "k", "value": "v", "time": "t", "late_topic": "late"}
    document = pipeline_of("rolling_metrics", options={**names, **options})
    async with Harness(document) as service:
        service.broker.create_topic("late")
        await service.send_all(series.data())
        await service.settle()
        await service.advance(30)
        assert service.dead_letters() == []
        return service.outputs(), service.outputs("late")


def check_all(reports: list[dict[str, Any]], found: Found) -> None:
    """There is one report of each window, and it is right."""
    assert len(reports) == len(found)
    for report in reports:
        check(report, found[report["key"], report["start"], report["end"]])


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("window", "advance_ms"),
    [("tumbling", 10_000), ("hopping", 2_500)],
    ids=["tumbling", "hopping"],
)
async def test_windows_on_the_clock_are_those_of_a_filter_by_their_bounds(
    window: str, advance_ms: int, seed: int
) -> None:
    series = generated(seed)

    reports, late = await told(
        series, window=window, size_s=10, advance_s=advance_ms / 1000, lateness_s=1, idle_s=5
    )

    found, late_count = hopping(series, 10_000, advance_ms, 1_000)
    assert late_count > 20
    assert len(late) == late_count
    check_all(reports, found)


@pytest.mark.parametrize("seed", [1, 2])
async def test_sessions_are_the_runs_without_a_pause(seed: int) -> None:
    series = generated(seed)
    in_time = series.at_ms > _START_MS - 10_000

    reports, late = await told(series, window="session", size_s=0.5, lateness_s=5, idle_s=5)

    # The first event has no watermark to be too late for.
    in_time[0] = True
    assert len(late) == (~in_time).sum() > 20
    check_all(reports, sessions(series.choose(in_time), 500))


async def test_a_sliding_window_is_the_last_panes_before_each_value() -> None:
    size_ms, pane_ms = 2_000, 200
    series = generated(3, disorder_ms=1_900)

    reports, late = await told(series, window="sliding", size_s=2, lateness_s=0.5, idle_s=1000)

    marks = series.watermarks(500)
    in_time = series.at_ms + size_ms > marks
    assert len(late) == (~in_time).sum() > 20
    mine = series.choose(in_time)
    panes_ms = mine.at_ms // pane_ms * pane_ms
    assert len(reports) == len(mine.keys)
    for number, report in enumerate(reports):
        at_ms = mine.at_ms[number]
        inside = (mine.keys == mine.keys[number]) & (panes_ms <= at_ms)
        inside &= panes_ms + pane_ms > at_ms - size_ms
        inside[number + 1 :] = False  # what has not come yet
        assert (report["start"], report["end"]) == (at_ms - size_ms, at_ms)
        check(report, mine.values[inside])


async def test_count_windows_are_the_series_cut_into_pieces() -> None:
    series = generated(4)

    reports, late = await told(series, window="count", count=7)

    assert late == []
    pieces = {
        key: mine.values[: len(mine.values) // 7 * 7].reshape(-1, 7)
        for key, mine in series.by_key().items()
    }
    assert len(reports) == sum(map(len, pieces.values()))
    turn = dict.fromkeys(pieces, 0)
    for report in reports:
        key = report["key"]
        check(report, pieces[key][turn[key]])
        turn[key] += 1


# -- anomalies ---------------------------------------------------------------------------------


def weighted(learnt: Floats, alpha: float) -> tuple[float, float]:
    """Mean and deviation of a series whose values weigh less by ``1 - alpha`` with each later."""
    ages = np.arange(learnt.size - 1, -1, -1)
    weights = alpha * (1 - alpha) ** ages
    weights[0] = (1 - alpha) ** ages[0]
    mean = np.average(learnt, weights=weights)
    return float(mean), float(np.sqrt(np.average((learnt - mean) ** 2, weights=weights)))


def robust(learnt: Floats, window: int) -> tuple[float, float]:
    """Median, and the deviation from it on the scale of a standard deviation."""
    last = learnt[-window:]
    median = np.median(last)
    return float(median), float(np.median(np.abs(last - median)) / 0.6745)


def incidents(values: Floats, at_ms: Ints, method: str) -> list[dict[str, Any]]:
    """What is to be told of one key, with the options of the test."""
    expected: list[dict[str, Any]] = []
    learnt = np.empty(0)
    since, scores, calm = -1, np.empty(0), 0
    for number, value in enumerate(values.tolist()):
        mean, deviation, score = 0.0, 0.0, 0.0
        if number:
            mean, deviation = weighted(learnt, 0.05) if method == "ewma" else robust(learnt, 50)
        kept = value
        if number >= 30 and deviation > 0:
            score = (value - mean) / deviation
            kept = float(np.clip(value, mean - 4 * deviation, mean + 4 * deviation))
        learnt = np.append(learnt, kept)
        status = None
        if since < 0 and abs(score) >= 4:
            status, since, scores, calm = "open", int(at_ms[number]), np.array([score]), 0
        elif since >= 0:
            scores = np.append(scores, score)
            calm = calm + 1 if abs(score) < 2 else 0
            status = "closed" if calm == 3 else None
        if status:
            expected.append(
                {
                    "status": status,
                    "value": value,
                    "score": pytest.approx(score, rel=1e-6),
                    "expected": pytest.approx(mean, rel=1e-6),
                    "deviation": pytest.approx(deviation, rel=1e-6),
                    "since": since,
                    "peak": pytest.approx(scores[np.abs(scores).argmax()], rel=1e-6),
                    "values": scores.size,
                }
            )
        if status == "closed":
            since = -1
    return expected


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("method", ["ewma", "robust"])
async def test_incidents_are_those_of_the_scores_by_definition(method: str, seed: int) -> None:
    """Disorder and duplicates too: what is usual is learnt in the order of arrival."""
    rng = np.random.default_rng(seed)
    series = generated(seed)
    values = rng.normal(100, 5, len(series.keys))
    spikes = rng.random(len(values)) < 0.01
    values[spikes] += rng.choice([-80, 80], spikes.sum())
    series = series._replace(values=values)
    document = pipeline_of(
        "anomaly", options={"key": "k", "value": "v", "method": method, "window": 50}
    )

    async with Harness(document) as service:
        for data in series.data():
            await service.send(data, timestamp=data["t"])
        await service.settle()
        assert service.dead_letters() == []
        reports = service.outputs()

    by_key: dict[str, list[dict[str, Any]]] = {}
    for report in reports:
        by_key.setdefault(report.pop("key"), []).append(report)
    expected = {
        key: incidents(mine.values, mine.at_ms, method) for key, mine in series.by_key().items()
    }
    assert by_key == {key: told for key, told in expected.items() if told}
    assert len(reports) > 30

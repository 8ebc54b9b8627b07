from collections import defaultdict
from collections.abc import Sequence
from math import ceil
from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.windows.aggregate import Aggregate
from service.windows.running import Running
from service.windows.watermark import BEFORE_ALL_MS
from service.windows.windowing import (
    CountWindows,
    HoppingWindows,
    SessionWindows,
    SlidingWindows,
    Told,
    Window,
    Windowing,
    finished,
)

_NOW = BEFORE_ALL_MS
_EVENTS = st.lists(st.tuples(st.integers(0, 500), st.integers(0, 1000)), min_size=1, max_size=60)


def described(windows: Sequence[Told]) -> list[tuple[int, int, int]]:
    return [(w.start_ms, w.end_ms, w.count) for w in windows]


@given(_EVENTS, st.integers(1, 60), st.integers(1, 4))
def test_hopping_windows_hold_what_a_filter_by_their_bounds_finds(
    events: list[tuple[int, int]], advance_ms: int, overlap: int
) -> None:
    size_ms = advance_ms * overlap
    windowing = HoppingWindows(size_ms, advance_ms)
    windows: list[Window] = []

    for at_ms, value in events:
        windowing.add(windows, at_ms, value, _NOW)

    starts = {
        start
        for at_ms, _ in events
        for start in range(at_ms - at_ms % advance_ms - size_ms, at_ms + 1, 1)
        if start % advance_ms == 0 and start <= at_ms < start + size_ms
    }
    assert [w.start_ms for w in windows] == sorted(starts)
    for window in windows:
        inside = [v for at, v in events if window.start_ms <= at < window.end_ms]
        assert window.aggregate.count == len(inside)
        figures = window.aggregate.figures()
        assert figures.max == max(inside)
        assert figures.mean == pytest.approx(sum(inside) / len(inside))


class Looked(Window):
    """Counts how often anybody looks when a window begins."""

    looks = 0

    def __getattribute__(self, name: str) -> Any:
        Looked.looks += name == "start_ms"
        return super().__getattribute__(name)


def test_a_value_looks_through_its_hopping_windows_once() -> None:
    windowing = HoppingWindows(500, 1)
    windows: list[Window] = [Looked(start_ms, start_ms + 500) for start_ms in range(600)]
    Looked.looks = 0

    updated = windowing.add(windows, 560, 1.0, _NOW)

    assert updated == windows[61:561]
    assert Looked.looks <= 3 * len(windows)


@given(_EVENTS, st.integers(1, 60))
def test_sessions_are_the_runs_without_a_gap_whatever_the_order_of_arrival(
    events: list[tuple[int, int]], gap_ms: int
) -> None:
    windowing = SessionWindows(gap_ms)
    windows: list[Window] = []

    for at_ms, value in events:
        windowing.add(windows, at_ms, value, _NOW)

    runs: list[list[int]] = []
    for at_ms in sorted(at for at, _ in events):
        if runs and at_ms - runs[-1][-1] <= gap_ms:
            runs[-1].append(at_ms)
        else:
            runs.append([at_ms])
    assert described(windows) == [(run[0], run[-1] + gap_ms, len(run)) for run in runs]


def test_what_is_too_late_for_every_window_is_in_none() -> None:
    windows: list[Window] = []

    for windowing in (HoppingWindows(10, 10), SessionWindows(10), SlidingWindows(10)):
        assert windowing.add(windows, 5, 1.0, 20) == []

    assert windows == []


def test_a_late_value_still_counts_in_the_hopping_windows_that_are_open() -> None:
    windowing = HoppingWindows(20, 10)
    windows: list[Window] = []

    updated = windowing.add(windows, 15, 1.0, 25)

    assert described(updated) == [(10, 30, 1)]


def test_a_count_window_is_full_at_its_last_value_and_knows_no_time() -> None:
    windowing = CountWindows(3)
    windows: list[Window] = []

    for at_ms in (30, 10):
        assert not windowing.full(windowing.add(windows, at_ms, 1.0, 1_000_000)[0])
    (window,) = windowing.add(windows, 20, 1.0, 1_000_000)

    assert windowing.full(window)
    assert finished(windows, 1_000_000) == []
    assert window.start_ms == 10


def test_a_sliding_window_reports_its_last_length_and_at_most_one_pane_more() -> None:
    windowing = SlidingWindows(100, panes=10)
    windows: list[Window] = []
    counts = []

    for at_ms in range(0, 300, 5):
        (total,) = windowing.add(windows, at_ms, 1.0, at_ms - 100)
        finished(windows, at_ms - 100)
        counts.append(total.count)

    assert all(100 / 5 <= count <= 110 / 5 for count in counts[22:])
    assert len(windows) <= 3 * 10 + 2  # two lengths behind the watermark, and one of lateness


def test_a_sliding_window_that_is_in_time_still_finds_all_of_its_panes() -> None:
    windowing = SlidingWindows(100, panes=10)
    windows: list[Window] = []

    for at_ms in (65, 300):
        windowing.add(windows, at_ms, 1.0, at_ms - 50)
    finished(windows, 250)
    (total,) = windowing.add(windows, 160, 1.0, 250)

    assert total.count == 2


_BURSTS = st.tuples(
    st.integers(-150, 150) | st.sampled_from([0, 1, 5, 1_000]),
    st.sampled_from([1, 2, 40, 150]),
    st.integers(0, 12),
)
"""From the newest time to the first value, how many there are, most time from one to the next."""


@settings(max_examples=100)
@given(
    st.lists(
        _BURSTS | st.sampled_from(["time passes", "the process dies"]), min_size=1, max_size=12
    ),
    st.sampled_from([100, 95, 107]),
    st.integers(),
)
def test_what_sliding_windows_report_is_the_sum_of_their_panes_to_the_last_bit(
    steps: list[tuple[int, int, int] | str], size_ms: int, seed: int
) -> None:
    random = Random(seed)
    windowing = SlidingWindows(size_ms)
    windows: list[Window] = []
    newest_ms, watermark_ms = 1_000_000, _NOW

    for step in steps:
        if isinstance(step, tuple):
            from_newest_ms, count, apart_ms = step
            at_ms = newest_ms + from_newest_ms
            for _ in range(count):
                value = random.choice(
                    [0.0, -0.0, 5.0, random.gauss(0, 5), random.lognormvariate(0, 20)]
                )
                told = windowing.add(windows, at_ms, value, watermark_ms)
                if at_ms + size_ms <= watermark_ms:
                    assert told == []
                else:
                    (total,) = told
                    assert (total.start_ms, total.end_ms) == (at_ms - size_ms, at_ms)
                    # the text, in which 0.0 is not -0.0
                    assert repr(total.told.report()) == repr(
                        added_up(windows, at_ms, size_ms).report()
                    )
                newest_ms = max(newest_ms, at_ms)
                at_ms += random.choice([apart_ms, 0, -apart_ms // 2])
        elif step == "the process dies":
            windows = [Window.decode(orjson.loads(window.encode())) for window in windows]
        else:
            watermark_ms = newest_ms - 50
            finished(windows, watermark_ms)


def added_up(panes: list[Window], at_ms: int, size_ms: int) -> Aggregate:
    """All panes of the window that ends at ``at_ms``, one after the other."""
    total = Aggregate()
    for pane in panes:
        if at_ms - size_ms - ceil(size_ms / 10) < pane.start_ms <= at_ms:
            total.merge(pane.aggregate)
    return total


@pytest.mark.parametrize(
    "windowing",
    [HoppingWindows(60, 60), HoppingWindows(90, 30), SessionWindows(7), CountWindows(400)],
    ids=["tumbling", "hopping", "session", "count"],
)
@settings(max_examples=30)
@given(st.lists(_BURSTS | st.just("the process dies"), min_size=1, max_size=8), st.integers())
def test_what_is_told_of_a_window_at_every_value_is_what_it_holds_to_the_last_bit(
    windowing: Windowing, steps: list[tuple[int, int, int] | str], seed: int
) -> None:
    random = Random(seed)
    windows: list[Window] = []
    newest_ms = 1_000_000

    for step in steps:
        if isinstance(step, str):
            windows = [Window.decode(orjson.loads(window.encode())) for window in windows]
            continue
        at_ms = newest_ms + step[0]
        for _ in range(step[1]):
            value = random.choice([0.0, -0.0, random.gauss(0, 5), random.lognormvariate(0, 20)])
            for told in windowing.add(windows, at_ms, value, _NOW):
                (window,) = (each for each in windows if each is told)
                assert repr(told.told.report()) == repr(window.aggregate.report())
                assert told.told.count == told.count == window.aggregate.count
            newest_ms = max(newest_ms, at_ms)
            at_ms += random.choice([step[2], 0, -step[2] // 2])


def test_what_is_told_of_a_window_is_kept_from_value_to_value() -> None:
    windowing = HoppingWindows(100, 100)
    windows: list[Window] = []
    for value in range(200):
        windowing.add(windows, 5, float(value), _NOW)

    told = [windowing.add(windows, 6, 1.0, _NOW)[0].told for _ in range(2)]

    assert told[0] is told[1]
    assert isinstance(told[0], Running)


def test_the_sum_of_the_panes_is_kept_while_the_newest_goes_on() -> None:
    windowing = SlidingWindows(100, panes=10)
    windows: list[Window] = []
    for at_ms in range(200):
        windowing.add(windows, at_ms, 1.0, at_ms - 100)
        windowing.add(windows, at_ms, 2.0, at_ms - 100)

    sums = [windowing.add(windows, 200, float(value), 100)[0].told for value in range(2)]

    assert sums[0] is sums[1]
    assert isinstance(sums[0], Running)
    assert [window.start_ms for window in windows if window.running is not None] == [200]


@pytest.mark.parametrize(
    "make",
    [
        lambda: HoppingWindows(10, 20),
        lambda: HoppingWindows(10, 0),
        lambda: SessionWindows(0),
        lambda: CountWindows(0),
        lambda: SlidingWindows(5, panes=10),
    ],
    ids=["advance beyond size", "no advance", "no gap", "no values", "pane below 1 ms"],
)
def test_windows_that_cannot_be_are_refused(make: "type[HoppingWindows]") -> None:
    with pytest.raises(ValueError, match=r"windows|gap"):
        make()  # type: ignore[call-arg]  # the parameters are in the lambda


def test_a_window_survives_its_encoding_as_json() -> None:
    windows: list[Window] = []
    HoppingWindows(10, 10).add(windows, 3, 2.5, _NOW)

    again = Window.decode(orjson.loads(windows[0].encode()))

    assert (again.start_ms, again.end_ms) == (0, 10)
    assert again.aggregate.report() == windows[0].aggregate.report()
    assert repr(again) == "Window(0, 10, count=1)"


class TumblingMachine(RuleBasedStateMachine):
    """Every value is counted once: in a finished window, in an open one, or as late."""

    def __init__(self) -> None:
        super().__init__()
        self.windowing = HoppingWindows(10, 10)
        self.windows: list[Window] = []
        self.watermark_ms = 0
        self.model: defaultdict[int, int] = defaultdict(int)
        self.closed: set[int] = set()

    @rule(at_ms=st.integers(0, 200))
    def add(self, at_ms: int) -> None:
        start_ms = at_ms // 10 * 10
        updated = self.windowing.add(self.windows, at_ms, 1.0, self.watermark_ms)
        if start_ms + 10 <= self.watermark_ms:
            assert updated == []
        else:
            self.model[start_ms] += 1
            assert described(updated) == [(start_ms, start_ms + 10, self.model[start_ms])]

    @rule(by_ms=st.integers(1, 35))
    def advance(self, by_ms: int) -> None:
        self.watermark_ms += by_ms
        for window in finished(self.windows, self.watermark_ms):
            assert window.start_ms not in self.closed
            assert window.aggregate.count == self.model.pop(window.start_ms)
            self.closed.add(window.start_ms)

    @invariant()
    def open_windows_are_those_that_are_not_over(self) -> None:
        assert [w.start_ms for w in self.windows] == sorted(self.model)
        assert all(w.end_ms > self.watermark_ms for w in self.windows)


test_tumbling_windows_lose_and_repeat_nothing = TumblingMachine.TestCase

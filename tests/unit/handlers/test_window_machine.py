"""Every kind of window through whatever may happen to it, against the obvious model.

The model keeps the values that were in time and says from the definitions alone which windows
there are, which of them are over and what has to have been told.  Events come in runs, late and
out of order; time passes in silence; at any moment the process dies and another one goes on with
what the changelog has.
"""

import asyncio
from collections import defaultdict
from typing import Any, ClassVar, NamedTuple

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from service.events import EventBatch, RecordBatch, Result, SourceRecord
from service.handlers import Clients, HandlerContext, load_handler
from service.handlers.rolling_metrics import RollingMetrics
from service.handlers.rolling_options import RollingMetricsOptions
from service.state.store import LoggedStore
from service.testing.virtual_time import VirtualTimeLoop

load_handler("rolling_metrics")

START_MS = 1_700_000_000_000
LATENESS_MS, IDLE_S = 1_000, 5.0
SIZE_MS, ADVANCE_MS, PANE_MS, COUNT = 2_000, 500, 200, 4
PLACE = ("input", 0)

Told = list[tuple[str, int | None, int | None, tuple[int, ...]]]
"""Key, start, end and values of windows."""


class Value(NamedTuple):
    """One that was in time, and the number of its arrival."""

    key: str
    at_ms: int
    value: int


RUNS = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(-60, 30), st.integers(1, 50)),
    min_size=1,
    max_size=8,
)
"""Key, distance from the newest timestamp in tenths of a second, value."""


class WindowMachine(RuleBasedStateMachine):
    """What a handler says of its windows, and what the definitions say."""

    options: ClassVar[dict[str, Any]]

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop()
        self.changelog: dict[tuple[str, str], bytes] = {}
        self.offset = 0
        self._open()
        # the model
        self.newest_ms: int | None = None
        self.claimed_ms = 0
        self.closed_ms = 0
        self.heard_at_s: float | None = None

    def teardown(self) -> None:
        self.loop.close()

    # -- the handler -----------------------------------------------------------------------

    def _open(self) -> None:
        """A process that begins with what the changelog has."""
        options = RollingMetricsOptions(
            value="v",
            time="t",
            lateness_s=LATENESS_MS / 1000,
            idle_s=IDLE_S,
            late_topic="late",
            **self.options,
        )
        self.handler = RollingMetrics(options)
        self.store = LoggedStore(self.loop.time)
        context = HandlerContext(
            pipeline="p",
            handler="h",
            options=options,
            clients=Clients(),
            state=self.store,
            emit=lambda _: asyncio.sleep(0),
        )
        self.loop.run_until_complete(self.handler.open(context))
        for name in self.store.states:
            table = self.store.reopen(name, PLACE)
            stored = {
                key: (value, 0.0) for (of, key), value in self.changelog.items() if of == name
            }
            table.load(stored)
            self.store.open(name, PLACE, table)
        self.loop.run_until_complete(self.handler.assigned(*PLACE))

    def _settle(self) -> None:
        """What has changed is in the changelog."""
        self.store.settle()
        for name, state in self.store.states.items():
            table = state.tables[PLACE]
            for key in table.take_dirty():
                value = table.peek(key)
                if value is None:
                    self.changelog.pop((name, key), None)
                else:
                    self.changelog[name, key] = state.serde.serialize(value)

    async def _handle(self, run: list[Value]) -> list[Result]:
        records = [
            SourceRecord(b"", key=value.key.encode(), offset=self.offset + place)
            for place, value in enumerate(run)
        ]
        self.offset += len(run)
        batch = RecordBatch(*PLACE, records, next_offset=self.offset)
        events = EventBatch(batch, [{"t": value.at_ms, "v": value.value} for value in run])
        told = self.handler.handle_many(events, range(len(run)))
        return [result for _, results in told for result in results]

    # -- what happens ----------------------------------------------------------------------

    @rule(run=RUNS)
    def events_come(self, run: list[tuple[str, int, int]]) -> None:
        values: list[Value] = []
        expected: Told = []
        late = 0
        for key, tenths, number in run:
            value = Value(key, (self.newest_ms or START_MS) + tenths * 100, number)
            values.append(value)
            mark_ms = -(2**62) if self.newest_ms is None else self.claimed_ms - LATENESS_MS
            told = self._keep(value, mark_ms)
            late += told is None
            expected += told or []
            self.newest_ms = max(self.newest_ms or 0, value.at_ms)
            self.claimed_ms = max(self.claimed_ms, value.at_ms)
            expected += self._over(self.claimed_ms - LATENESS_MS)
        self.heard_at_s = None

        results = self.loop.run_until_complete(self._handle(values))
        self._settle()

        assert sum(result.topic == "late" for result in results) == late
        self._compare([result for result in results if result.topic != "late"], expected)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.5, 30.0]))
    def time_passes(self, seconds: float) -> None:
        now_s = self.loop.time()
        expected: Told = []
        if self.heard_at_s is None:
            self.heard_at_s = now_s
        elif self.newest_ms is not None and now_s - self.heard_at_s >= IDLE_S:
            silent_ms = int((now_s - self.heard_at_s) * 1000)
            self.claimed_ms = max(self.claimed_ms, self.newest_ms + silent_ms)
        if self.newest_ms is not None:
            expected = self._over(self.claimed_ms - LATENESS_MS)

        if expected:
            self.closed_ms = self.claimed_ms

        results = self.handler.tick(now_s)
        self._settle()

        self._compare(results, expected)
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @rule()
    def the_process_dies(self) -> None:
        self._open()
        if self.newest_ms is not None:
            # What silence has claimed since it last closed something need not be known any more,
            # and nobody knows that it was silence which claimed the rest.
            noted_ms = orjson.loads(self.changelog["time", "newest"])
            assert max(self.newest_ms, self.closed_ms) <= noted_ms <= self.claimed_ms
            self.newest_ms = self.claimed_ms = noted_ms
        self.heard_at_s = self.loop.time()

    # -- the definitions -------------------------------------------------------------------

    def _keep(self, value: Value, mark_ms: int) -> Told | None:
        """Keep a value that is in time; what is told of it at once, ``None`` if it is late."""
        raise NotImplementedError

    def _over(self, mark_ms: int) -> Told:
        """The windows that are over now and were not before; they are not kept."""
        raise NotImplementedError

    @staticmethod
    def _compare(results: list[Result], expected: Told) -> None:
        reports: list[dict[str, Any]] = [result.value for result in results]
        found = sorted((r["key"], r["start"], r["end"] or 0, r["count"]) for r in reports)
        assert found == sorted((k, s, e or 0, len(v)) for k, s, e, v in expected)
        sums = sorted((k, s, e or 0, sum(v), min(v), max(v)) for k, s, e, v in expected)
        told = [(r["key"], r["start"], r["end"] or 0, r["count"] * r["mean"], r) for r in reports]
        assert sums == sorted((k, s, e, round(t), r["min"], r["max"]) for k, s, e, t, r in told)


class OnTheClock(WindowMachine):
    """Tumbling and hopping windows."""

    advance_ms: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.windows: defaultdict[tuple[str, int], list[int]] = defaultdict(list)

    def _keep(self, value: Value, mark_ms: int) -> Told | None:
        last = value.at_ms - value.at_ms % self.advance_ms
        starts = [
            start
            for start in range(last - SIZE_MS, last + 1, self.advance_ms)
            if start <= value.at_ms < start + SIZE_MS and start + SIZE_MS > mark_ms
        ]
        for start in starts:
            self.windows[value.key, start].append(value.value)
        return [] if starts else None

    def _over(self, mark_ms: int) -> Told:
        over = [window for window in self.windows if window[1] + SIZE_MS <= mark_ms]
        return [
            (key, start, start + SIZE_MS, tuple(self.windows.pop((key, start))))
            for key, start in over
        ]


class TumblingMachine(OnTheClock):
    options: ClassVar = {"window": "tumbling", "size_s": SIZE_MS / 1000}
    advance_ms = SIZE_MS


class HoppingMachine(OnTheClock):
    options: ClassVar = {
        "window": "hopping",
        "size_s": SIZE_MS / 1000,
        "advance_s": ADVANCE_MS / 1000,
    }
    advance_ms = ADVANCE_MS


class SessionMachine(WindowMachine):
    """Sessions are the runs of the values that are kept, whatever the order they came in."""

    options: ClassVar = {"window": "session", "size_s": SIZE_MS / 1000}

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Value] = []

    def _runs(self, kept: list[Value]) -> list[list[Value]]:
        runs: list[list[Value]] = []
        for value in sorted(kept):
            last = runs[-1][-1] if runs else None
            if last and last.key == value.key and value.at_ms - last.at_ms <= SIZE_MS:
                runs[-1].append(value)
            else:
                runs.append([value])
        return runs

    def _keep(self, value: Value, mark_ms: int) -> Told | None:
        (mine,) = [run for run in self._runs([*self.kept, value]) if value in run]
        if mine[-1].at_ms + SIZE_MS <= mark_ms:
            return None
        self.kept.append(value)
        return []

    def _over(self, mark_ms: int) -> Told:
        over = [run for run in self._runs(self.kept) if run[-1].at_ms + SIZE_MS <= mark_ms]
        for run in over:
            for value in run:
                self.kept.remove(value)
        return [
            (run[0].key, run[0].at_ms, run[-1].at_ms + SIZE_MS, tuple(v.value for v in run))
            for run in over
        ]


class SlidingMachine(WindowMachine):
    """A window for every value, of the panes before it that anybody has put something into."""

    options: ClassVar = {"window": "sliding", "size_s": SIZE_MS / 1000}

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Value] = []

    def _keep(self, value: Value, mark_ms: int) -> Told | None:
        begin_ms = value.at_ms - SIZE_MS
        if value.at_ms + SIZE_MS <= mark_ms:
            return None
        self.kept.append(value)
        inside = [
            each.value
            for each in self.kept
            if each.key == value.key
            and each.at_ms - each.at_ms % PANE_MS <= value.at_ms
            and each.at_ms - each.at_ms % PANE_MS + PANE_MS > begin_ms
        ]
        return [(value.key, begin_ms, value.at_ms, tuple(inside))]

    def _over(self, mark_ms: int) -> Told:
        del mark_ms
        return []


class CountMachine(WindowMachine):
    """Every so many values of a key, whatever their time."""

    options: ClassVar = {"window": "count", "count": COUNT}

    def __init__(self) -> None:
        super().__init__()
        self.kept: defaultdict[str, list[Value]] = defaultdict(list)

    def _keep(self, value: Value, mark_ms: int) -> Told | None:
        del mark_ms
        mine = self.kept[value.key]
        mine.append(value)
        if len(mine) < COUNT:
            return []
        del self.kept[value.key]
        first_ms = min(each.at_ms for each in mine)
        return [(value.key, first_ms, None, tuple(each.value for each in mine))]

    def _over(self, mark_ms: int) -> Told:
        del mark_ms
        return []


_SETTINGS = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestTumblingWindows = TumblingMachine.TestCase
TestHoppingWindows = HoppingMachine.TestCase
TestSessions = SessionMachine.TestCase
TestSlidingWindows = SlidingMachine.TestCase
TestCountWindows = CountMachine.TestCase
for _case in (
    TestTumblingWindows,
    TestHoppingWindows,
    TestSessions,
    TestSlidingWindows,
    TestCountWindows,
):
    _case.settings = _SETTINGS
del _case

"""Rolling figures per key: count, mean, deviation, extremes and quantiles of each window.

Time is event time: the newest timestamp of a partition, less the allowed lateness, closes its
windows, and the wall clock does when nothing more comes.  Windows and the partition's time are
durable, so a restart in the middle of a window changes nothing.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from service.events import Event, EventBatch, Result
from service.handlers.context import HandlerContext
from service.handlers.results import TICK_AGAIN_RESULTS, PartitionResult
from service.handlers.rolling_options import RollingMetricsOptions
from service.handlers.rolling_rows import Row, RowReader
from service.handlers.spec import handler
from service.handlers.timers import FORGOTTEN_AFTER_S
from service.state.keyed import Codec, KeyedState, Partition, PartitionId, Place
from service.windows.agenda import Agenda
from service.windows.aggregate import FOLD_AT, Aggregate
from service.windows.running import Running
from service.windows.watermark import BEFORE_ALL_MS, Watermark
from service.windows.windowing import (
    NEVER_MS,
    CountWindows,
    Told,
    Window,
    finished,
)

CLOSED_PER_EVENT: Final = 200
"""Most windows that one event closes; the others are closed by the next, or by a tick."""
CLOSED_PER_RUN: Final = 600
"""Most windows that a run of events closes: everything else waits for it."""
CLOSED_PER_TICK: Final = TICK_AGAIN_RESULTS
"""Most windows that a tick closes; the next one comes at once then."""
LOOKED_AT: Final = 4
"""Keys looked at for each that may be closed: the ends of sessions that went on are found late."""
SLIDING_LOOKED_AT: Final = 40
"""The same for sliding windows, of which only panes are dropped."""
_NEWEST: Final = "newest"


class _Time:
    """How far one partition is, and when its windows end; rebuilt from the state."""

    __slots__ = ("assigned", "claimed", "closed", "ends", "heard", "watermark")

    def __init__(self, watermark: Watermark) -> None:
        self.watermark = watermark
        self.heard = False
        self.assigned = False  # by the group, or it is a connection of a source
        self.claimed = False  # that time has passed, which is not noted yet
        self.closed = False  # something, since the last tick
        self.ends = Agenda()  # of each key, the first end or an earlier

    def next_end_ms(self) -> int:
        """When the first window may be over."""
        next_ms = self.ends.next_ms
        return NEVER_MS if next_ms is None else next_ms


class _Value(NamedTuple):
    """A value, its key and when it was observed."""

    key: str
    at_ms: int
    value: float


@handler("rolling_metrics", options=RollingMetricsOptions, state=("windows", "time"))
class RollingMetrics:
    """``{"key","start","end","final","count","mean","min","max","std","p50","p95","p99"}``.

    One for every window, under its key, when the window is over (``final``); with ``emit:
    update`` also at every value.  ``start`` and ``end`` are ms since the epoch, the end not
    included; ``std`` is the sample deviation, ``null`` below two values; quantiles are within
    1 % of the value of their rank.  A sliding window is reported at every value and at no end.
    Late events go to ``late_topic`` as ``{"key","value","timestamp","watermark"}``.
    """

    def __init__(self, options: RollingMetricsOptions) -> None:
        self._options = options
        self._windowing = options.windowing()
        self._rows = RowReader(options)
        self._counting = self._windowing if isinstance(self._windowing, CountWindows) else None
        self._lateness_ms = round(options.lateness_s * 1000)
        self._sliding = options.window == "sliding"
        self._tells_updates = self._sliding or options.emit == "update"
        self._quick = self._windowing.disjoint and not self._tells_updates
        self._partitions: dict[PartitionId, _Time] = {}
        self._windows: KeyedState
        self._times: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._windows = context.state(
            "windows", max_keys=self._options.max_keys, codec=Codec(_encode, _decode)
        )
        self._times = context.state("time")
        self._context = context

    async def assigned(self, topic: str, partition: int) -> None:
        """Find out when the restored windows end."""
        self._partitions.pop((topic, partition), None)
        self._begin(Partition(topic, partition)).assigned = True

    async def revoked(self, topic: str, partition: int) -> None:
        """Somebody else closes these windows now."""
        self._partitions.pop((topic, partition), None)

    def _begin(self, place: Partition) -> _Time:
        now_s = asyncio.get_running_loop().time()
        idle_s = self._options.idle_s
        time = _Time(Watermark(lateness_ms=self._lateness_ms, idle_s=idle_s, now_s=now_s))
        newest_ms = self._times.get(place, _NEWEST)
        if newest_ms is not None:
            time.watermark.restore(newest_ms, now_s)
        ends = self._windows.survey(place, _first_end, _first_end_in)
        time.ends = Agenda((end_ms, key) for key, end_ms in ends if end_ms < NEVER_MS)
        self._partitions[place] = time
        return time

    def __call__(self, event: Event) -> list[Result] | None:
        """What this event says of its own windows, and those that its time closes."""
        rows = self._rows.read((event.index,), (event.data,), (event,))
        # Noted under the event, so that what became of this very call decides about it.
        told = self._run(Partition(event.topic, event.partition), rows, event)
        return told[0][1] if told else None

    def handle_many(
        self, events: EventBatch, wanted: Sequence[int]
    ) -> list[tuple[int, list[Result]]]:
        """:meth:`__call__` for a run of events; see :class:`service.handlers.bound.BoundHandler`.

        Raises:
            SchemaError: If one of them cannot be added up; then none has been.
        """
        batch = events.batch
        data: Sequence[Any] = events.data
        records: Sequence[Any] = batch.records
        if len(wanted) != len(records):
            data = [data[index] for index in wanted]
            records = [records[index] for index in wanted]
        rows = self._rows.read(wanted, data, records)
        place = Partition(batch.topic, batch.partition)
        return self._run(place, rows, place)

    def _run(
        self, partition: Partition, rows: "Iterator[Row]", place: Place
    ) -> list[tuple[int, list[Result]]]:
        """Add the rows in their order; returns the indexes that have something to say, and what.

        What changes is noted under ``place``, which lies in ``partition``.
        """
        time = self._partitions.get(partition) or self._begin(partition)
        time.heard = True
        watermark = time.watermark
        heard_at_s = watermark.heard_at_s
        began_ms = newest_ms = watermark.newest_ms
        mark_ms = watermark.at_ms
        lateness_ms, seen_ms = self._lateness_ms, BEFORE_ALL_MS
        next_end_ms = time.next_end_ms()
        may_close = CLOSED_PER_RUN
        find, quick = self._windows.reader(place), self._quick
        touched: dict[str, list[Window]] = {}
        told: list[tuple[int, list[Result]]] = []
        for index, key, at_ms, value in rows:
            results: list[Result] | None = None
            windows: list[Window] | None = find(key)
            if (
                quick
                and windows
                and (last := windows[-1]).start_ms <= at_ms < last.end_ms
                and last.end_ms > mark_ms
            ):
                # Aggregate.add without the call: nearly every value of tumbling windows
                recent = last.aggregate.recent
                recent.append(value)
                if len(recent) >= FOLD_AT:
                    last.aggregate.fold()
                touched[key] = windows
            else:
                watermark.observe(seen_ms, heard_at_s)
                value_at = _Value(key, at_ms, value)
                # a key that is new has its windows only there until they are put
                windows = touched.get(key, windows)
                results = self._add(place, time, touched, windows or [], value_at)
                next_end_ms = time.next_end_ms()
            if at_ms > seen_ms:
                seen_ms = at_ms
                if at_ms > newest_ms:
                    newest_ms = at_ms
                    mark_ms = at_ms - lateness_ms
                    if next_end_ms <= mark_ms and may_close > 0:
                        watermark.observe(seen_ms, heard_at_s)
                        touched = self._keep(place, touched)
                        closed = self._close(place, time, min(CLOSED_PER_EVENT, may_close))
                        may_close -= len(closed)
                        results = [*(results or ()), *closed]
                        next_end_ms = time.next_end_ms()
            if results:
                told.append((index, results))
        watermark.observe(seen_ms, heard_at_s)
        self._keep(place, touched)
        if newest_ms > began_ms or time.claimed:
            self._times.put(place, _NEWEST, newest_ms)
            time.claimed = False
        return told

    def _keep(self, place: Place, touched: dict[str, list[Window]]) -> dict[str, list[Window]]:
        """Put what was touched; returns where the next is noted."""
        if touched:
            self._windows.put_many(place, touched)
        return {}

    def tick(self, now_s: float) -> list[Result]:
        """The windows that time alone has closed."""
        results: list[Result] = []
        gone: list[Partition] = []
        for place, time in self._partitions.items():
            watermark = time.watermark
            # One that we have not come to is not silent: its events would be late.
            if time.heard or self._context.unread(*place):
                time.heard = False
                watermark.observe(BEFORE_ALL_MS, now_s)
            elif watermark.pass_time(now_s):
                time.claimed = True
            limit = CLOSED_PER_TICK - len(results)
            partition = Partition(*place)
            results.extend(self._close(partition, time, limit))
            # Noted with what it has closed or with the next event, and not each second of a
            # silence that may last.
            if time.closed and watermark.newest_ms != self._times.get(partition, _NEWEST):
                self._times.put(partition, _NEWEST, watermark.newest_ms)
                time.claimed = False
            time.closed = False
            silent_s = now_s - watermark.heard_at_s
            if silent_s > FORGOTTEN_AFTER_S and not time.assigned and not time.ends:
                gone.append(partition)
        for partition in gone:
            del self._partitions[partition]
            self._times.delete(partition, _NEWEST)
            for key, _ in list(self._windows.items(partition)):  # those that no time ends
                self._windows.delete(partition, key)
        return results

    def _add(
        self,
        place: Place,
        time: _Time,
        touched: dict[str, list[Window]],
        windows: list[Window],
        value_at: "_Value",
    ) -> list[Result] | None:
        """Add a value by the rule of its kind of window, and tell of it if that is wanted."""
        key, at_ms, value = value_at
        first = windows[0] if windows else None
        updated = self._windowing.add(windows, at_ms, value, time.watermark.at_ms)
        if not updated:
            return None if self._options.late_topic is None else [self._late(value_at, time)]
        if windows[0] is not first and windows[0].end_ms < NEVER_MS:
            time.ends.add(windows[0].end_ms, key)
        full = self._counting is not None and self._counting.full(updated[0])
        if full:
            touched.pop(key, None)
            self._windows.delete(place, key)
        else:
            touched[key] = windows
        if full or self._tells_updates:
            return [
                Result(_report(key, window, window.told, final=full), key=key) for window in updated
            ]
        return None

    def _close(self, place: Place, time: _Time, limit: int) -> list[Result]:
        """The results of up to ``limit`` windows that are over."""
        partition = Partition(place.topic, place.partition)
        at_ms, ends = time.watermark.at_ms, time.ends
        results: list[Result] = []
        looks = (SLIDING_LOOKED_AT if self._sliding else LOOKED_AT) * limit
        while len(results) < limit and looks > 0:
            key = ends.take(at_ms)
            if key is None:
                break
            looks -= 1
            windows: list[Window] | None = self._windows.get(place, key)
            if not windows:
                continue
            done = finished(windows, at_ms, limit - len(results))
            time.closed |= bool(done)
            if windows:
                ends.add(windows[0].end_ms, key)
                if done:
                    self._windows.put(place, key, windows)
            else:
                self._windows.delete(place, key)
            if not self._sliding:
                results.extend(
                    PartitionResult(
                        partition, _report(key, window, window.aggregate, final=True), key=key
                    )
                    for window in done
                )
        return results

    def _late(self, value_at: "_Value", time: _Time) -> Result:
        key, at_ms, value = value_at
        late = {"key": key, "value": value, "timestamp": at_ms, "watermark": time.watermark.at_ms}
        return Result(late, key=key, topic=self._options.late_topic)


def _report(key: str, window: Told, values: Aggregate | Running, *, final: bool) -> dict[str, Any]:
    end_ms = window.end_ms if window.end_ms < -BEFORE_ALL_MS else None
    return {
        "key": key,
        "start": window.start_ms,
        "end": end_ms,
        "final": final,
        **values.report(),
    }


def _encode(windows: list[Window]) -> bytes:
    if len(windows) == 1:
        (window,) = windows  # Window.encode without the call and the copy
        return b"[[%d,%d,%b]]" % (window.start_ms, window.end_ms, window.aggregate.encode())
    return b"[%b]" % b",".join([window.encode() for window in windows])


def _first_end(windows: list[Window]) -> int:
    return windows[0].end_ms


def _first_end_in(stored: bytes) -> int:
    # ``[[start,end,`` and then much that need not be read to know this
    return int(stored.split(b",", 2)[1])


def _decode(encoded: list[Any]) -> list[Window]:
    return [Window.decode(window) for window in encoded]

"""One topic, read once for all who watch it.

A feed keeps its reader alive, encodes each event once, and lays it into the window (for those
who resume) and into the view of every filter that it passes.  It knows no sockets and no
clients; who holds a cursor into its views is the hub's business.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from service.consumers.base import OffsetGoneError
from service.consumers.topic_reader import ReaderFactory, TopicChunk, TopicReader, UnknownTopicError
from service.delivery.backoff import Backoff
from service.errors import BrokerUnavailableError
from service.subscriptions.encoding import encode
from service.subscriptions.extent import SharedExtent
from service.subscriptions.patience import Patience
from service.subscriptions.positions import (
    FromEarliest,
    FromLatest,
    FromOffsets,
    FromTimestamp,
    Positions,
    Resolved,
    Start,
    clamp,
    covers,
)
from service.subscriptions.share import LoopShare
from service.subscriptions.views import LatestView, RingView
from service.subscriptions.window import RecentWindow
from service.where import Predicate

_log = structlog.get_logger(__name__)

_SLICE_S = 0.005
"""Longest run of encoding before the loop is let go."""

_SLICE_SHARE = 0.25
"""Most of a view that one run may fill before the passes get a turn: one answer of the broker can
hold more than a view, and clients that keep up would lose what they had no chance to get."""


class ViewKey(NamedTuple):
    """What makes two subscriptions of a topic share a view."""

    where_json: bytes
    latest_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a feed keeps in memory.

    Attributes:
        queue_events: Most events waiting per view, so per client.
        queue_bytes: Their bytes.
        window_events: Most recent events kept for those who resume.
        window_bytes: Their bytes.
    """

    queue_events: int = 1000
    queue_bytes: int = 256 * 1024
    window_events: int = 10_000
    window_bytes: int = 16 * 1024 * 1024


class FilteredView:
    """A view, and the filter that feeds it."""

    __slots__ = ("passes", "view")

    def __init__(self, view: RingView | LatestView, passes: Predicate | None) -> None:
        self.view = view
        self.passes = passes


class TopicFeed:
    """Reads ``topic`` while :meth:`run` runs.

    Args:
        topic: Its name.
        readers: Opens readers of it.
        bounds: What is kept.
        share: What encoding and filtering may take of the loop.
        on_events: Called when views have new events; told whether it is urgent, as a view is
            half full.  Must not wait.  Returns what is set when the next pass has ended.
        on_lost: Called with the number of records that the log lost before they were read.
        on_gone: Called when the topic is found not to exist.
    """

    def __init__(
        self,
        topic: str,
        readers: ReaderFactory,
        *,
        bounds: Bounds,
        share: LoopShare,
        on_events: Callable[[bool], asyncio.Event],
        on_lost: Callable[["TopicFeed", int], None],
        on_gone: Callable[["TopicFeed", UnknownTopicError], None],
    ) -> None:
        self.topic = topic
        self.window = RecentWindow({}, max_items=0, max_bytes=0)
        self.views: dict[ViewKey, FilteredView] = {}
        self._readers = readers
        self._bounds = bounds
        self._share = share
        self._on_events = on_events
        self._on_lost = on_lost
        self._on_gone = on_gone
        self._reader: TopicReader | None = None
        self._target: Positions | None = None
        self._progress = asyncio.Event()
        self._caught_up = False
        self._unknown: UnknownTopicError | None = None
        self._made_anew = False
        self._extent = SharedExtent()
        self._patience = Patience()

    async def run(self) -> None:
        """Read until cancelled; failures are waited out and never raised."""
        backoff = Backoff(initial_s=0.5, max_s=10.0)
        while True:
            try:
                await self._read(backoff)
            except UnknownTopicError as error:
                self._unknown = error
                self._caught_up = False
                self._progress.set()
                _log.warning("subscription topic does not exist", topic=self.topic)
                self._on_gone(self, error)
            except (BrokerUnavailableError, OffsetGoneError) as error:
                _log.warning("subscription reader failed", topic=self.topic, reason=str(error))
            except Exception:  # noqa: BLE001 -- the boundary of a task
                # dashboards may fail, the pipelines beside them may not fail with them
                _log.exception("subscription feed failed", topic=self.topic)
            await asyncio.sleep(backoff.next_s())

    def view(self, key: ViewKey, passes: Predicate | None) -> RingView | LatestView:
        """The view for ``key``, made on first use."""
        filtered = self.views.get(key)
        if filtered is None:
            make = LatestView if key.latest_only else RingView
            view = make(self._bounds.queue_events, self._bounds.queue_bytes)
            filtered = self.views[key] = FilteredView(view, passes)
        return filtered.view

    async def resolve(self, start: Start) -> Resolved:
        """Find the offsets that ``start`` means; without the broker where the window knows.

        Raises:
            BrokerUnavailableError: If the broker does not answer.
        """
        now = self.window.positions
        if isinstance(start, FromLatest):
            return Resolved(positions=dict(now))
        if isinstance(start, FromOffsets):
            wanted = self._complete(start.offsets)
            known = wanted.keys() == now.keys() and all(wanted[p] <= now[p] for p in now)
            if known and covers(self.window.low, wanted):
                return Resolved(positions=wanted)
        reader = self._reader
        if reader is None:
            raise BrokerUnavailableError(f"{self.topic}: not connected")
        beginning, end = await self._extent.ask(reader)
        match start:
            case FromEarliest():
                return clamp(beginning, beginning, end)
            case FromTimestamp(timestamp_ms):
                found = await reader.at_timestamp(timestamp_ms)
                # asked later than the end: what lies beyond that has come since
                end = {p: max(last, found.get(p, last)) for p, last in end.items()}
                return clamp(found, beginning, end)
            case FromOffsets(offsets):
                return clamp(self._complete(offsets), beginning, end, made_anew=self._made_anew)

    async def caught_up(self) -> None:
        """Wait until the reader has caught up with the topic for the first time.

        Raises:
            UnknownTopicError: If there is no such topic.
        """
        while not self._caught_up:
            self.check_known()
            await self._next_progress()

    async def reached(self, positions: Mapping[int, int]) -> None:
        """Wait until everything below ``positions`` has been read.

        Raises:
            UnknownTopicError: If there is no such topic any more.
        """
        while any(self.window.positions.get(p, 0) < offset for p, offset in positions.items()):
            self.check_known()
            await self._next_progress()

    def check_known(self) -> None:
        """Raise if there was no such topic when it was looked for last.

        Raises:
            UnknownTopicError: That.
        """
        if self._unknown is not None:
            raise self._unknown

    async def _next_progress(self) -> None:
        self._progress.clear()
        await self._progress.wait()

    def _complete(self, offsets: Mapping[int, int]) -> Positions:
        """Give every partition that ``offsets`` leaves out a position.

        One with a number above all that are named was added after the client left: all of it
        is new to the client.  Another one was left out on purpose.
        """
        newest = max(offsets)
        now = self.window.positions
        return {p: now[p] if p < newest else 0 for p in now} | dict(offsets)

    async def _read(self, backoff: Backoff) -> None:
        reader = await self._readers.open(self.topic)
        try:
            await self._position(reader)
            self._reader = reader
            self._unknown = None
            while True:
                runs = await reader.read()
                backoff.reset()
                await self._take(runs)
                if reader.outgrown:
                    raise BrokerUnavailableError(f"{self.topic}: has more partitions now")
        finally:
            self._reader = None
            await reader.close()

    async def _position(self, reader: TopicReader) -> None:
        beginning, end = await reader.beginning(), await reader.end()
        if self._target is None:
            backlog = self._bounds.window_events // max(len(end), 1)
            start = {p: max(beginning.get(p, 0), last - backlog) for p, last in end.items()}
            self._open_window(start)
        else:
            self._go_on(beginning, end)
        # Anew each time: of a topic that was cut or made anew the old end may never come.
        self._target = end
        reader.seek(self.window.positions)
        self._note_progress()

    def _go_on(self, beginning: Mapping[int, int], end: Mapping[int, int]) -> None:
        """Continue where the last reader stopped, if that still exists."""
        now = self.window.positions
        wanted = {p: now.get(p, beginning.get(p, 0)) for p in end}
        found = clamp(wanted, beginning, end, made_anew=True)
        lost = found.lost
        if not (lost or found.beyond):
            for partition, position in wanted.items():
                self.window.advance(partition, position)
            return
        self._made_anew |= found.beyond
        _log.error("records were removed before dashboards saw them", topic=self.topic, lost=lost)
        self._open_window(found.positions)
        self._on_lost(self, lost)

    def _open_window(self, start: Mapping[int, int]) -> None:
        self.window = RecentWindow(
            start, max_items=self._bounds.window_events, max_bytes=self._bounds.window_bytes
        )

    async def _take(self, runs: list[TopicChunk]) -> None:
        loop, cpu_clock = asyncio.get_running_loop(), self._share.cpu_clock
        most_events = self._bounds.queue_events * _SLICE_SHARE
        most_bytes = self._bounds.queue_bytes * _SLICE_SHARE
        began_s, began_cpu_s = loop.time(), cpu_clock()
        events = size_bytes = 0
        for run in runs:
            for record in run.records:
                if record.offset < self.window.positions.get(run.partition, 0):
                    continue
                event, data = encode(run.partition, record)
                self.window.append(event)
                for filtered in self.views.values():
                    if filtered.passes is None or filtered.passes(data):
                        filtered.view.append(event)
                events += 1
                size_bytes += event.size_bytes
                full = events > most_events or size_bytes > most_bytes
                if full or loop.time() - began_s > _SLICE_S:
                    await self._let_go(cpu_clock() - began_cpu_s)
                    began_s, began_cpu_s = loop.time(), cpu_clock()
                    events = size_bytes = 0
            self.window.advance(run.partition, run.next_offset)
        if runs:
            self._note_progress()
            await self._let_go(cpu_clock() - began_cpu_s)

    async def _let_go(self, work_s: float) -> None:
        """Let everybody else have a turn, above all the passes when a view is half full."""
        crowded = self._crowded()
        passed = self._on_events(crowded)
        await self._share.used(work_s)
        if crowded:
            await self._patience.wait_for(passed)

    def _crowded(self) -> bool:
        return any(filtered.view.crowded for filtered in self.views.values())

    def _note_progress(self) -> None:
        now = self.window.positions
        if not self._caught_up and self._target is not None:
            self._caught_up = all(now.get(p, 0) >= last for p, last in self._target.items())
        self._progress.set()

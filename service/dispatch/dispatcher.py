"""Runs one handler on event batches: plain functions in one loop, coroutines as calls.

A plain function runs here and now, a whole batch in one pass; only an event that has to be tried
again, or that waits behind one in its lane, becomes a :class:`~service.dispatch.call.Call`.  For
a coroutine function every event becomes one.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Hashable, Sequence
from time import perf_counter
from typing import Any, TypeAlias

from service.delivery.circuit import CircuitPolicy
from service.delivery.delays import delayed_for
from service.delivery.retry import RetryPolicy
from service.dispatch.attempts import Attempts
from service.dispatch.call import Call
from service.dispatch.companions import Companions
from service.dispatch.lanes import LANES, Ordering
from service.dispatch.runner import FROM_INSIDE, Runner
from service.errors import TransientError
from service.events import (
    Event,
    EventBatch,
    Handled,
    Outcome,
    Permission,
    RecordBatch,
    Result,
    Results,
)
from service.handlers.bound import BoundHandler
from service.handlers.results import is_plain, to_results
from service.metrics.counters import HandlerCounters, PipelineCounters
from service.publishers.changelog import Changelog
from service.streams import Lanes, Work
from service.telemetry import Tracing
from service.where import Where

Handling: TypeAlias = Work[Handled | Outcome | None] | Handled | Outcome | None
"""What handling an event begins with: its outcome, or a call that comes to one."""


class Dispatcher:
    """One handler of one pipeline.

    Args:
        handler: The handler, bound to its options.
        where: Which events it gets; ``None`` means all.
        ordering: What must not be overtaken.
        timeout_s: Longest call of a coroutine function.
        retry: What follows a failed attempt.
        circuit: When to stop starting calls; off if not given.
        tombstones: Whether null values are handled, as events whose ``data`` is ``None``.
        counters: The pipeline's counters.
        tracing: Makes a traced record's span the current one of its coroutine.
        changelog: Of the handler's state, if that is to be durable.
        delay_topics: Of all handlers of the pipeline: what waits in one is for one handler alone.

    Attributes:
        calls: What runs the calls that are made here.
        delay_topics: As given.
        lanes: Where calls of a batch handler wait for their lane; ``None`` for other handlers.
        cancelled_its_task: Whether a plain function has cancelled the task that it runs in, which
            is its pipeline's.
    """

    def __init__(
        self,
        handler: BoundHandler,
        *,
        where: Where | None,
        ordering: Ordering,
        timeout_s: float,
        retry: RetryPolicy,
        counters: PipelineCounters,
        tombstones: bool = False,
        tracing: Tracing | None = None,
        circuit: CircuitPolicy | None = None,
        changelog: Changelog | None = None,
        delay_topics: Collection[str] = frozenset(),
    ) -> None:
        self.handler = handler
        self.name = handler.name
        self._call = handler.call
        self._many = handler.handle_many
        self._where = where
        self._lane: Callable[[Event], Hashable | None] = LANES[ordering]
        self._tombstones = tombstones
        self._pipeline = counters
        self._counters: HandlerCounters = counters.handler(handler.name)
        self._attempts = Attempts(
            retry, self._counters, handler=self.name, random=random.random, pipeline=counters.name
        )
        self.delay_topics = delay_topics
        self.changelog = changelog
        # Looked at after every call: a list that is nearly always empty, or nothing at all.
        self._changes: Sequence[object] = () if changelog is None else changelog.store.changes
        self.calls = Runner(
            handler,
            attempts=self._attempts,
            timeout_s=timeout_s,
            circuit=circuit,
            pipeline=counters,
            counters=self._counters,
            tracing=Tracing(None) if tracing is None else tracing,
            changelog=changelog,
        )
        self._lanes_under_way = self.calls.lanes
        self.lanes: Lanes[Call] | None = None
        if handler.batcher is not None:
            handler.batcher.behind = companions = Companions(self._lane, self._undo)
            self.lanes = companions.lanes
        self.cancelled_its_task = False

    def _undo(self, event: Event) -> None:
        if self.changelog is not None:
            self.changelog.store.undo_for(event)

    @property
    def where(self) -> Where | None:
        """Which events it gets now; ``None`` means all."""
        return self._where

    def retune(self, *, where: Where | None, timeout_s: float, retry: RetryPolicy) -> None:
        """Change what may change while it runs; calls that are running keep their deadline."""
        self._where = where
        self._attempts.policy = retry
        self.calls.retune(timeout_s)

    def handle(self, batches: Sequence[EventBatch]) -> list[Handling]:
        """Outcomes of a plain function, or the calls of a coroutine function.

        Events that the filter does not want, or whose handler returns nothing, are acknowledged
        here and do not appear.
        """
        items: list[Handling] = []
        # With a circuit breaker every attempt has to be able to wait, so all become calls.
        as_calls = self.handler.is_async or self.calls.breaks
        plain = self._outcomes if self._many is None else self._runs
        run = self._calls if as_calls else plain
        task = None if as_calls else asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        for events in batches:
            batch = events.batch
            begun = batch.begun
            if batch.closing and begun is None:
                batch.dispatched -= batch.left - len(events.failed)
                continue
            wanted = self._select(events)
            batch.ack_all_but(wanted if not events.failed else [*wanted, *events.failed])
            waits = bool(wanted) and not as_calls and batch.permission() is Permission.WAIT
            if begun is not None:
                if batch.closing:  # which of these go on is asked in the order of their lanes
                    waits = bool(wanted) and not as_calls
                if not as_calls and not waits:
                    _mark(begun, wanted)
            if not wanted:
                continue
            if waits:
                self._wait(events, wanted, items)
            else:
                run(events, wanted, items)
        # nothing was awaited here, so nobody else can have done it
        if task is not None and task.cancelling() > cancelled:
            self.cancelled_its_task = True
        return items

    def _select(self, events: EventBatch) -> Sequence[int]:
        where, indexes = self._where, events.indexes
        if where is None or (indexes is not None and events.chosen_by is where):
            wanted = range(len(events)) if indexes is None else indexes
        elif indexes is None:
            wanted = where.select_many(events.data)
        else:
            some = [events.data[index] for index in indexes]
            wanted = [indexes[place] for place in where.select_many(some)]
        if self._tombstones and events.tombstones:
            wanted = sorted({*wanted, *events.tombstones})
        batch = events.batch
        if batch.topic in self.delay_topics:
            wanted = [index for index in wanted if delayed_for(batch, index) == self.name]
        if batch.finished_by is not None:
            finished = batch.finished_by.get(self.name, ())
            wanted = [index for index in wanted if index not in finished]
        return wanted

    def _calls(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Make a call of each; events are built here as in ``_outcomes``, for the same reason."""
        lane, calls = self._lane, self.calls
        batch, data, envelopes = events.batch, events.data, events.envelopes
        records = batch.records
        special = batch.inherited is not None or batch.topic in self._attempts.delay_topics
        alone = batch.begun is None
        if alone:
            batch.dispatched -= len(wanted)  # counted again as each one starts
        for index in wanted:
            record = records[index]
            event = Event(
                data[index] if record.value is not None else None,
                record.key,
                record.timestamp,
                None,
                record.headers,
                batch,
                index,
            )
            if envelopes is not None and (envelope := envelopes[index]) is not None:
                envelope.around(event)
            if special:
                self._attempts.restore(event)
            items.append(Call(calls, event, lane(event), alone))

    def _wait(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Make calls of what a plain function may not be given yet, in their lanes."""
        calls: list[Handling] = []
        self._calls(events, wanted, calls)
        for call in calls:
            if isinstance(call, Call):
                self.calls.enter(call.lane)
        items += calls

    def _outcomes(  # noqa: C901, PLR0912, PLR0915 -- hot: a call taken out of it costs 60 ns an event
        self, events: EventBatch, wanted: Sequence[int], items: list[Handling]
    ) -> None:
        """Call a plain function for each; plain results, as nearly always, make runs."""
        call = self._call
        batch, data, envelopes = events.batch, events.data, events.envelopes
        records = batch.records
        special = batch.inherited is not None or batch.topic in self._attempts.delay_topics
        changes = self._changes
        silent: list[int] = []
        changed: list[int] = []
        indexes: list[int] = []
        plain: list[dict[str, Any] | Result] = []
        addressed = False
        untried = 0
        began_s, retries = perf_counter(), self._counters.retries
        for index in wanted:
            record = records[index]
            event = Event(
                data[index] if record.value is not None else None,
                record.key,
                record.timestamp,
                None,
                record.headers,
                batch,
                index,
            )
            if envelopes is not None and (envelope := envelopes[index]) is not None:
                envelope.around(event)
            if special:
                self._attempts.restore(event)
            item: Outcome | Call
            if self._lanes_under_way and (lane := self._lane(event)) in self._lanes_under_way:
                item = self.calls.put_off(event, lane, 0.0)
                untried += 1
            else:
                try:
                    returned = call(event)
                    if not changes:
                        if type(returned) is dict:
                            indexes.append(index)
                            plain.append(returned)
                            continue
                        if returned is None:
                            silent.append(index)
                            continue
                    results: Results | Result = (
                        returned
                        if type(returned) is dict or is_plain(returned)
                        else to_results(returned)
                    )
                except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 -- user's code
                    if self.changelog is not None:
                        self.changelog.store.undo()
                    item = self._failed_inline(event, exc)
                else:
                    if changes and self._settled(batch, index, results, changed):
                        continue
                    if type(results) is dict:
                        indexes.append(index)
                        plain.append(results)
                        continue
                    if isinstance(results, Result):
                        addressed = True
                        indexes.append(index)
                        plain.append(results)
                        continue
                    item = Outcome(batch, index, results)
            if indexes:
                items.append(Handled(batch, indexes, plain, addressed=addressed))
                indexes, plain, addressed = [], [], False
            items.append(item)
        if indexes:
            items.append(Handled(batch, indexes, plain, addressed=addressed))
        tried = len(wanted) - untried
        again = self._counters.retries - retries  # these are not finished
        self._count_handled(tried - again, tried, perf_counter() - began_s)
        if silent:
            batch.ack_many(silent)
        if changed and self.changelog is not None:
            self.changelog.cover(batch, changed)

    def _runs(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Give all of ``wanted`` to the handler at once, or one by one where that cannot be."""
        batch = events.batch
        special = batch.inherited is not None or batch.topic in self._attempts.delay_topics
        tombstones = self._tombstones and events.tombstones
        if (
            special
            or tombstones
            or self._lanes_under_way
            or not self._at_once(events, wanted, items)
        ):
            self._outcomes(events, wanted, items)

    def _at_once(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> bool:
        """Call the handler for all of ``wanted``; false if it failed, and nothing has happened."""
        if self._many is None:
            return False
        batch = events.batch
        began_s = perf_counter()
        try:
            told = [
                (index, some if type(some) is dict else to_results(some))
                for index, some in self._many(events, wanted)
            ]
        except (Exception, asyncio.CancelledError):  # noqa: BLE001 -- one by one it has a culprit
            if self.changelog is not None:
                self.changelog.store.undo()
            return False
        silent = wanted
        if told:
            loud = {index for index, _ in told}
            silent = [index for index in wanted if index not in loud]
            items.extend(Outcome(batch, index, results) for index, results in told)
        if self.changelog is None or not self._changes:
            batch.ack_many(silent)
        else:
            self.changelog.store.settle()
            self.changelog.unwritten.update((batch, index) for index, _ in told)
            self.changelog.cover(batch, silent)
        self._count_handled(len(wanted), len(wanted), perf_counter() - began_s)
        return True

    def _count_handled(self, finished: int, tried: int, took_s: float) -> None:
        self._pipeline.handle_s += took_s
        self._counters.handled += finished
        if tried:
            self._counters.durations.record(took_s / tried, tried)

    def _settled(
        self, batch: RecordBatch, index: int, results: Results | Result, changed: list[int]
    ) -> bool:
        """What a call changed in the state counts; true if that is all that came of it."""
        if self.changelog is None:
            return False
        self.changelog.store.settle()
        if not results and type(results) is not dict:  # an empty mapping is a result
            changed.append(index)
            return True
        self.changelog.unwritten.add((batch, index))
        return False

    def _failed_inline(
        self, event: Event, raised: Exception | asyncio.CancelledError
    ) -> Outcome | Call:
        """A plain function raised: dead-letter, or try again in a worker with the lane held."""
        # not in a variable of the caller, whose frame it refers to: that would be a cycle
        error = raised if isinstance(raised, Exception) else TransientError(FROM_INSIDE)
        decided = self._attempts.after(event, error)
        if isinstance(decided, Outcome):
            return decided
        return self.calls.put_off(event, self._lane(event), decided)


def _mark(begun: bytearray, wanted: Sequence[int]) -> None:
    """Set the bytes at ``wanted``, ascending and each once, to 1."""
    if len(wanted) == len(begun):
        begun[:] = b"\x01" * len(begun)
        return
    for index in wanted:
        begun[index] = 1

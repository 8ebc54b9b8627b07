"""Runs one handler on event batches: plain functions in one loop, coroutines as calls.

A plain function runs here and now, a whole batch in one pass; only an event that has to be tried
again, or that waits behind one in its lane, becomes a :class:`~service.dispatch.call.Call`.  For
a coroutine function every event becomes one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Hashable, Iterable, Iterator, Sequence
from enum import Enum
from time import perf_counter
from typing import Any, Final, TypeAlias

from service.delivery.circuit import CircuitBreaker, CircuitPolicy, CircuitState
from service.delivery.delays import delayed_for
from service.delivery.retry import (
    ErrorKind,
    RetryPolicy,
    classify,
)
from service.dispatch.attempts import Attempts
from service.dispatch.call import Call
from service.dispatch.deadlines import Deadlines
from service.dispatch.lanes import LANES, Ordering
from service.errors import HandlerTimeoutError, TransientError
from service.events import Event, EventBatch, Handled, Outcome, Permission, RecordBatch, Results
from service.handlers.bound import BoundHandler
from service.handlers.results import to_results
from service.metrics.counters import HandlerCounters, PipelineCounters
from service.publishers.changelog import Changelog
from service.streams import Later, Work
from service.telemetry import Tracing
from service.where import Where

CIRCUIT_POLL_S: Final = 0.05
"""Least wait between two looks at an open circuit."""
PERMISSION_POLL_S: Final = 0.05
"""Time between two looks at calls whose records may be somebody else's."""

_FROM_INSIDE: Final = "the handler was cancelled from inside"


Handling: TypeAlias = Work[Handled | Outcome | None] | Handled | Outcome | None
"""What handling an event begins with: its outcome, or a call that comes to one."""


class CallState(Enum):
    """What a call is doing."""

    RUNNING = "running"
    PARKED = "parked"


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
        rng: Jitter of retries.

    Attributes:
        attempt: Makes one attempt of a call, to be awaited in a worker.
        running: Calls that run, and since when (``loop.time()``).
        parked: Calls that wait for their next attempt, and since when.
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
        rng: random.Random | None = None,
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
        self._tracing = Tracing(None) if tracing is None else tracing
        rng = random.Random() if rng is None else rng  # noqa: S311 -- jitter
        self._attempts = Attempts(retry, self._counters, handler=self.name, random=rng.random)
        self._deadlines = Deadlines[Call](timeout_s)
        self.changelog = changelog
        # Looked at after every call: a list that is nearly always empty, or nothing at all.
        self._changes: Sequence[object] = () if changelog is None else changelog.store.changes
        self._circuit = (
            CircuitBreaker(circuit) if circuit is not None and circuit.failures else None
        )
        self.attempt: Callable[[Call], Awaitable[Outcome | Later[Outcome | None] | None]] = (
            self._run if self._circuit is None else self._run_through
        )
        self._waiting: dict[Hashable, int] = {}  # lanes with calls under way, and how many
        self.parked: dict[Call, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def retune(self, *, where: Where | None, timeout_s: float, retry: RetryPolicy) -> None:
        """Change what may change while it runs; calls that are running keep their deadline."""
        self._where = where
        self._attempts.policy = retry
        self._deadlines.change(timeout_s)

    def handle(self, batches: Sequence[EventBatch]) -> list[Handling]:
        """Outcomes of a plain function, or the calls of a coroutine function.

        Events that the filter does not want, or whose handler returns nothing, are acknowledged
        here and do not appear.
        """
        items: list[Handling] = []
        # With a circuit breaker every attempt has to be able to wait, so all become calls.
        as_calls = self.handler.is_async or self._circuit is not None
        plain = self._outcomes if self._many is None else self._runs
        run = self._calls if as_calls else plain
        for events in batches:
            batch = events.batch
            begun = batch.begun
            if batch.closing and begun is None:
                batch.dispatched -= batch.left - len(events.failed)
                continue
            wanted = self._select(events)
            if batch.topic in self._attempts.delay_topics:
                wanted = [index for index in wanted if delayed_for(batch, index) == self.name]
            batch.ack_all_but(wanted if not events.failed else [*wanted, *events.failed])
            waits = bool(wanted) and not as_calls and batch.permission() is Permission.WAIT
            if begun is not None:
                if batch.closing:
                    wanted = [index for index in wanted if begun[index]]
                if not as_calls and not waits:
                    for index in wanted:
                        begun[index] = 1
            if not wanted:
                continue
            if waits:
                self._wait(events, wanted, items)
            else:
                run(events, wanted, items)
        return items

    def _select(self, events: EventBatch) -> Sequence[int]:
        if self._where is None:
            wanted = events.indexes
            wanted = range(len(events)) if wanted is None else wanted
        else:
            wanted = self._where.select_many(events.data)
            if events.indexes is not None:
                allowed = set(events.indexes)
                wanted = [index for index in wanted if index in allowed]
        if self._tombstones and events.tombstones:
            wanted = sorted({*wanted, *events.tombstones})
        return wanted

    def _calls(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Make a call of each; events are built here as in ``_outcomes``, for the same reason."""
        lane = self._lane
        batch, data, types = events.batch, events.data, events.types
        records = batch.records
        special = batch.attempts is not None or batch.topic in self._attempts.delay_topics
        alone = batch.begun is None
        if alone:
            batch.dispatched -= len(wanted)  # counted again as each one starts
        for index in wanted:
            record = records[index]
            event = Event(
                data[index] if record.value is not None else None,
                record.key,
                record.timestamp,
                None if types is None else types[index],
                record.headers,
                batch,
                index,
            )
            if special:
                self._attempts.restore(event)
            items.append(Call(self, event, lane(event), alone))

    def _wait(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Make calls of what a plain function may not be given yet, in their lanes."""
        calls: list[Handling] = []
        self._calls(events, wanted, calls)
        for call in calls:
            if isinstance(call, Call):
                self._enter(call.lane)
        items += calls

    def _outcomes(  # noqa: C901, PLR0912 -- the hot loop: a call taken out of it costs 60 ns an event
        self, events: EventBatch, wanted: Sequence[int], items: list[Handling]
    ) -> None:
        """Call a plain function for each; mappings, which it nearly always gives, make runs."""
        call = self._call
        batch, data, types = events.batch, events.data, events.types
        records = batch.records
        special = batch.attempts is not None or batch.topic in self._attempts.delay_topics
        changes = self._changes
        silent: list[int] = []
        changed: list[int] = []
        indexes: list[int] = []
        mappings: list[dict[str, Any]] = []
        began_s = perf_counter()
        for index in wanted:
            record = records[index]
            event = Event(
                data[index] if record.value is not None else None,
                record.key,
                record.timestamp,
                None if types is None else types[index],
                record.headers,
                batch,
                index,
            )
            if special:
                self._attempts.restore(event)
            item: Outcome | Call
            if self._waiting and (lane := self._lane(event)) in self._waiting:
                item = self._wait_in_lane(event, lane, 0.0)
            else:
                try:
                    returned = call(event)
                    if returned is None and not changes:
                        silent.append(index)
                        continue
                    results: Results = returned if type(returned) is dict else to_results(returned)
                except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001 -- user's code
                    if self.changelog is not None:
                        self.changelog.store.undo()
                    error = exc if isinstance(exc, Exception) else TransientError(_FROM_INSIDE)
                    item = self._failed_inline(event, error)
                else:
                    if changes and self._settled(batch, index, results, changed):
                        continue
                    if type(results) is dict:
                        indexes.append(index)
                        mappings.append(results)
                        continue
                    item = Outcome(batch, index, results)
            if indexes:
                items.append(Handled(batch, indexes, mappings))
                indexes, mappings = [], []
            items.append(item)
        if indexes:
            items.append(Handled(batch, indexes, mappings))
        self._count_handled(len(wanted), perf_counter() - began_s)
        if silent:
            batch.ack_many(silent)
        if changed and self.changelog is not None:
            self.changelog.cover(batch, changed)

    def _runs(self, events: EventBatch, wanted: Sequence[int], items: list[Handling]) -> None:
        """Give all of ``wanted`` to the handler at once, or one by one where that cannot be."""
        batch = events.batch
        special = batch.attempts is not None or batch.topic in self._attempts.delay_topics
        tombstones = self._tombstones and events.tombstones
        if special or tombstones or self._waiting or not self._at_once(events, wanted, items):
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
        except Exception:  # noqa: BLE001 -- one by one, it will come out again and have a culprit
            if self.changelog is not None:
                self.changelog.store.undo()
            return False
        silent = wanted
        if told:
            loud = {index for index, _ in told}
            silent = [index for index in wanted if index not in loud]
            items.extend(_in_runs(batch, told))
        if self.changelog is None or not self._changes:
            batch.ack_many(silent)
        else:
            self.changelog.store.settle()
            self.changelog.unwritten.update((batch, index) for index, _ in told)
            self.changelog.cover(batch, silent)
        self._count_handled(len(wanted), perf_counter() - began_s)
        return True

    def _count_handled(self, count: int, took_s: float) -> None:
        self._pipeline.handle_s += took_s
        self._counters.handled += count
        self._counters.durations.record(took_s / count, count)

    def _settled(
        self, batch: RecordBatch, index: int, results: Results, changed: list[int]
    ) -> bool:
        """What a call changed in the state counts; true if that is all that came of it."""
        if self.changelog is None:
            return False
        self.changelog.store.settle()
        if not results:
            changed.append(index)
            return True
        self.changelog.unwritten.add((batch, index))
        return False

    def _failed_inline(self, event: Event, error: Exception) -> Outcome | Call:
        """A plain function raised: dead-letter, or try again in a worker with the lane held."""
        decided = self._attempts.after(event, error)
        if isinstance(decided, Outcome):
            return decided
        return self._wait_in_lane(event, self._lane(event), decided)

    def _wait_in_lane(self, event: Event, lane: Hashable | None, wait_s: float) -> Call:
        self._enter(lane)
        event.batch.dispatched -= 1
        call = Call(self, event, lane, away=True, wait_s=wait_s)
        if wait_s:
            self._park(call, asyncio.get_running_loop().time())
        return call

    def _park(self, call: Call, now_s: float) -> None:
        self.parked[call] = now_s
        self._counters.parked += 1

    def _unpark(self, call: Call) -> None:
        if self.parked.pop(call, None) is not None:
            self._counters.parked -= 1

    def find(self, batch: RecordBatch, index: int) -> tuple[CallState, float, int] | None:
        """Where a record is here: its state, since when (``loop.time()``), and its attempts.

        O(calls); for status pages.
        """
        for call in self.running:
            if call.event.batch is batch and call.event.index == index:
                return CallState.RUNNING, call.since_s, call.event.attempts + 1
        for call, since_s in self.parked.items():
            if call.event.batch is batch and call.event.index == index:
                return CallState.PARKED, since_s, call.event.attempts
        return None

    @property
    def running(self) -> Collection[Call]:
        """Calls that run."""
        return self._deadlines.running

    async def _hold(self, call: Call) -> "Later[Outcome | None]":
        """Nothing may begin until a heartbeat is answered: wait, with the slot.

        Without it every call that waits would look again and again, not only as many as may run.
        """
        if call not in self.parked:
            self._park(call, asyncio.get_running_loop().time())
        await asyncio.sleep(PERMISSION_POLL_S)
        return Later(0.0, call)

    async def _run_through(self, call: Call) -> "Outcome | Later[Outcome | None] | None":
        """Run ``call`` if the circuit lets it through, and tell the circuit how it went."""
        circuit = self._circuit
        if circuit is None:
            return await self._run(call)
        batch = call.event.batch
        if batch.permission() is Permission.WAIT and not batch.closing:
            return await self._hold(call)  # without a ticket of the circuit
        loop = asyncio.get_running_loop()
        ticket = circuit.enter(loop.time())
        if ticket is None:
            self._unpark(call)
            return self._wait_for_circuit(circuit, call, loop.time())
        try:
            item = await self._run(call)
        except asyncio.CancelledError:
            circuit.cancelled(ticket)
            raise
        if call.transient:
            circuit.failed(ticket, loop.time())
        else:
            circuit.succeeded(ticket)
        return item

    async def _run(  # noqa: C901, PLR0912 -- see the comment
        self, call: Call
    ) -> "Outcome | Later[Outcome | None] | None":
        # Not split further: what is awaited here is resumed through every coroutine around it.
        event = call.event
        batch = event.batch
        if batch.permission() is Permission.WAIT and not batch.closing:
            return await self._hold(call)
        if self.parked:
            self._unpark(call)
        if batch.closing and (call.away or not _begun(event)):
            self._leave(call)
            return None
        loop = self._loop or self._find_loop()
        call.since_s = began_s = loop.time()
        if call.away:
            batch.dispatched += 1
            call.away = False
        elif batch.begun is not None:
            batch.begun[event.index] = 1
        call.transient = False
        deadlines = self._deadlines
        deadlines.enter(call, loop, began_s)
        try:
            if not self.handler.is_async:
                returned = self._call(event)
            elif self._tracing.active:
                with self._tracing.current(batch, event.index):
                    returned = await self._call(event)
            else:
                returned = await self._call(event)
            results: Results = returned if type(returned) is dict else to_results(returned)
            outcome = (
                Outcome(batch, event.index, results)
                if self.changelog is None
                else self._finished(self.changelog, event, results)
            )
        except asyncio.CancelledError:
            reason = self._cancelled(call)
            if reason is None:
                raise
            failed = self._failed(call, reason, loop)
            if isinstance(failed, Later):
                return failed
            outcome = failed
        except Exception as exc:  # noqa: BLE001 -- the boundary of the user's code
            failed = self._failed(call, exc, loop)
            if isinstance(failed, Later):
                return failed
            outcome = failed
        finally:
            deadlines.leave(call)
        took_s = loop.time() - began_s
        self._counters.handled += 1
        self._counters.durations.record(took_s)
        self._pipeline.handle_s += took_s
        if call.lane is not None:
            self._leave(call)
        return outcome

    def _cancelled(self, call: Call) -> TransientError | None:
        """What a cancelled attempt failed of; ``None`` if somebody wants the call to end."""
        if self._deadlines.timed_out(call):
            return HandlerTimeoutError(_late(self._deadlines.timeout_s))
        if call.task is not None and call.task.cancelling() == 0:
            return TransientError(_FROM_INSIDE)  # it awaited something that was cancelled
        return None

    def _failed(
        self, call: Call, error: Exception, loop: asyncio.AbstractEventLoop
    ) -> "Outcome | Later[Outcome | None]":
        """What follows a failed attempt in a worker: an outcome, or the next attempt."""
        event = call.event
        if self.changelog is not None:
            self.changelog.store.undo_for(event)
        decided = self._attempts.after(event, error)
        call.transient = classify(error) is ErrorKind.TRANSIENT
        if isinstance(decided, Outcome):
            return decided
        event.batch.dispatched -= 1
        call.away = True
        self._park(call, loop.time())
        return Later(decided, call)

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, asked for once: on Python 3.11 each question is a system call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _finished(self, changelog: Changelog, event: Event, results: Results) -> Outcome | None:
        """What a successful attempt came to; ``None`` if there is nothing to publish."""
        if self._changes and changelog.store.settle_for(event):
            if not results:
                changelog.cover(event.batch, (event.index,))
                return None
            changelog.unwritten.add((event.batch, event.index))
        return Outcome(event.batch, event.index, results)

    def _wait_for_circuit(
        self, circuit: CircuitBreaker, call: Call, now_s: float
    ) -> "Later[Outcome | None]":
        """The circuit is open: wait where we are, without burning an attempt.

        What waits here fills the bound on waiting calls, and so the source stops reading.
        """
        self._park(call, now_s)
        retry_at_s = circuit.retry_at_s()
        wait_s = CIRCUIT_POLL_S if retry_at_s is None else retry_at_s - now_s
        return Later(max(CIRCUIT_POLL_S, wait_s), call)

    @property
    def circuit_open(self) -> bool:
        """Whether the circuit breaker lets nothing through right now."""
        circuit = self._circuit
        now_s = asyncio.get_running_loop().time()
        return circuit is not None and circuit.state(now_s) is CircuitState.OPEN

    def _enter(self, lane: Hashable | None) -> None:
        if lane is not None:
            self._waiting[lane] = self._waiting.get(lane, 0) + 1

    def _leave(self, call: Call) -> None:
        lane = call.lane
        left = self._waiting.get(lane) if lane is not None else None
        if left is None:
            return
        if left > 1:
            self._waiting[lane] = left - 1
        else:
            del self._waiting[lane]


def _in_runs(
    batch: RecordBatch, told: Iterable[tuple[int, Results]]
) -> Iterator[Handled | Outcome]:
    """What handling came to, in order; mappings that follow each other make runs."""
    indexes: list[int] = []
    mappings: list[dict[str, Any]] = []
    for index, results in told:
        if isinstance(results, dict):
            indexes.append(index)
            mappings.append(results)
            continue
        if indexes:
            yield Handled(batch, indexes, mappings)
            indexes, mappings = [], []
        yield Outcome(batch, index, results)
    if indexes:
        yield Handled(batch, indexes, mappings)


def _begun(event: Event) -> bool:
    """Whether another handler has begun this record of several handlers."""
    begun = event.batch.begun
    return begun is not None and bool(begun[event.index])


def _late(timeout_s: float) -> str:
    return f"no result within {timeout_s:g} s"

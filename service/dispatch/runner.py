"""Runs calls: one attempt at a time in a worker, with a deadline, a lane and a circuit breaker.

What has been put off is parked here with its lane held: for its next attempt, for a heartbeat, for
an open circuit.  Which events become calls, the dispatcher decides.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Container, Hashable, Sequence
from functools import partial
from types import CoroutineType
from typing import Any, Final, cast

from service.delivery.circuit import CircuitBreaker, CircuitPolicy
from service.delivery.retry import ErrorKind, classify
from service.dispatch.attempts import Attempts
from service.dispatch.call import Call, CallState, is_over, note_begun, set_aside
from service.dispatch.closing import Closing
from service.dispatch.companions import answered
from service.dispatch.deadlines import Deadlines
from service.errors import HandlerTimeoutError, TransientError
from service.events import Event, Handover, Outcome, Permission, RecordBatch, Results
from service.handlers.bound import BoundHandler
from service.handlers.results import to_results
from service.metrics.counters import HandlerCounters, PipelineCounters
from service.publishers.changelog import Changelog
from service.streams import Begun, Child, Eager, Later, cancelled_by_others
from service.telemetry import Tracing

CIRCUIT_POLL_S: Final = 0.05
"""Least wait between two looks at an open circuit."""
PERMISSION_POLL_S: Final = 0.05
"""Time between two looks at calls whose records may be somebody else's."""

# Named here once: asked of every call, and on Python 3.11 to name a member takes 100 ns.
_GO: Final = Permission.GO
_WAIT: Final = Permission.WAIT

FROM_INSIDE: Final = "the handler was cancelled from inside"


class Runner:
    """The calls of one handler.

    Args:
        handler: The handler, bound to its options.
        attempts: What follows a failed attempt.
        timeout_s: Longest call of a coroutine function.
        circuit: When to stop starting calls; off if not given.
        pipeline: The pipeline's counters.
        counters: The handler's counters.
        tracing: Makes a traced record's span the current one of its coroutine.
        changelog: Of the handler's state, if that is to be durable.

    Attributes:
        attempt: Makes one attempt of a call, to be awaited in a worker.
        eager: The same for many calls, as far as none waits; ``None`` with a circuit breaker.
        lanes: Lanes with calls under way, and how many.
        name: The handler's.
        parked: Calls that wait for their next attempt, and since when (``loop.time()``).
    """

    def __init__(
        self,
        handler: BoundHandler,
        *,
        attempts: Attempts,
        timeout_s: float,
        circuit: CircuitPolicy | None,
        pipeline: PipelineCounters,
        counters: HandlerCounters,
        tracing: Tracing,
        changelog: Changelog | None,
    ) -> None:
        self.name = handler.name
        self._is_async = handler.is_async
        self._call = handler.call
        self._attempts = attempts
        self._pipeline = pipeline
        self._counters = counters
        self._tracing = tracing
        self._changelog = changelog
        # Looked at after every call: a list that is nearly always empty, or nothing at all.
        self._changes: Sequence[object] = () if changelog is None else changelog.store.changes
        self._deadlines = Deadlines[Call](timeout_s)
        self._closing = Closing(handler.name)
        self._circuit = (
            CircuitBreaker(circuit) if circuit is not None and circuit.failures else None
        )
        circuit_off = self._circuit is None
        self.attempt: Callable[[Call], Awaitable[Outcome | Later[Outcome | None] | None]] = (
            self._run if circuit_off else self._run_through
        )
        self.eager: Eager | None = self._begin if self._is_async and circuit_off else None
        self.lanes: dict[Hashable, int] = {}
        self.parked: dict[Call, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def retune(self, timeout_s: float) -> None:
        """Change the timeout of calls that begin from now on."""
        self._deadlines.change(timeout_s)

    @property
    def breaks(self) -> bool:
        """Whether there is a circuit breaker, so that every attempt has to be able to wait."""
        return self._circuit is not None

    @property
    def running(self) -> Collection[Call]:
        """Calls that run."""
        return self._deadlines.running

    def find(self, is_it: Callable[[Event], bool]) -> tuple[CallState, float, int] | None:
        """A call whose event ``is_it``: its state, since when (``loop.time()``), its attempts.

        O(calls); for status pages.
        """
        for call in self.running:
            if is_it(call.event):
                return CallState.RUNNING, call.since_s, call.event.attempts + 1
        for call, since_s in self.parked.items():
            if is_it(call.event):
                return CallState.PARKED, since_s, call.event.attempts
        return None

    def put_off(self, event: Event, lane: Hashable | None, wait_s: float) -> Call:
        """A call of an event that cannot be handled here and now, with its lane held."""
        self.enter(lane)
        call = Call(self, event, lane, away=False, wait_s=wait_s)
        set_aside(call)
        if wait_s:
            self._park(call, asyncio.get_running_loop().time())
        return call

    def enter(self, lane: Hashable | None) -> None:
        """One more call of ``lane`` is under way; nothing of it may be handled before."""
        if lane is not None:
            self.lanes[lane] = self.lanes.get(lane, 0) + 1

    def _leave(self, call: Call) -> None:
        lane = call.lane
        left = self.lanes.get(lane) if lane is not None else None
        if left is None:
            return
        if left > 1:
            self.lanes[lane] = left - 1
        else:
            del self.lanes[lane]

    def _leaves(self, call: Call) -> bool:
        leaves = self._closing.leaves(call)
        if leaves:
            self._unpark(call)
            self._leave(call)
        return leaves

    def _park(self, call: Call, now_s: float) -> None:
        self.parked[call] = now_s
        self._counters.parked += 1

    def _unpark(self, call: Call) -> None:
        if self.parked.pop(call, None) is not None:
            self._counters.parked -= 1

    async def _hold(self, call: Call) -> "Later[Outcome | None]":
        """Nothing may begin until a heartbeat is answered: wait, with the slot.

        Without it every call that waits would look again and again, not only as many as may run.
        """
        if call not in self.parked:
            self._park(call, asyncio.get_running_loop().time())
        try:
            await asyncio.sleep(PERMISSION_POLL_S)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or cancelled_by_others(task):
                raise
        return Later(0.0, call)

    async def _run_through(self, call: Call) -> "Outcome | Later[Outcome | None] | None":
        """Run ``call`` if the circuit lets it through, and tell the circuit how it went."""
        circuit = self._circuit
        if circuit is None or call.answer is not None:  # it went through with one before it
            return await self._run(call)
        batch = call.event.batch
        if batch.permission() is _WAIT and not batch.closing:
            return await self._hold(call)  # without a ticket of the circuit
        if batch.closing and self._leaves(call):
            return None
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

    def _begin(  # noqa: C901, PLR0915 -- a hot loop, as _run is
        self, queue: "deque[tuple[Hashable | None, Any]]", busy: Container[Hashable], most: int
    ) -> "tuple[list[Outcome | None], tuple[Hashable | None, Any] | None]":
        """See :class:`~service.streams.Eager`: what :meth:`_run` does, as far as nothing waits.

        A call that ends at once needs no lane, no deadline and no coroutine of ours around it.
        """
        results: list[Outcome | None] = []
        rest: tuple[Hashable | None, Any] | None = None
        tried = finished = 0  # of what is given back
        loop = self._loop or self._find_loop()
        worker = cast("Child", asyncio.current_task(loop))
        began_s = loop.time()
        traced = self._tracing.active
        handle, changelog = self._call, self._changelog
        allowed: RecordBatch | None = None
        while queue and len(results) < most:
            lane, call = queue[0]
            if type(call) is not Call or call.wait_s or (lane is not None and lane in busy):
                break
            event = call.event
            batch = event.batch
            if batch is not allowed:
                if batch.closing or batch.permission() is not _GO or id(batch) in traced:
                    break
                allowed = batch
            queue.popleft()
            note_begun(call, batch)
            try:
                started = handle(event)
                try:
                    waits_for = started.send(None) if type(started) is CoroutineType else None
                except StopIteration as ended:
                    if worker.from_inside:
                        raise asyncio.CancelledError from None  # see _run
                    returned = ended.value
                    done: Results = returned if type(returned) is dict else to_results(returned)
                    results.append(
                        Outcome(batch, event.index, done)
                        if changelog is None
                        else self._finished(changelog, event, done)
                    )
                    continue
            except (Exception, asyncio.CancelledError) as exc:
                call.task = worker
                failed = self._failed(call, exc, loop)
                if failed is None:
                    raise
                if isinstance(failed, Outcome) and not worker.from_inside:
                    results.append(failed)
                    continue
                # a cancellation that waits for the next await must not meet another call there
                rest = lane, partial(_given, failed)
                tried, finished = 1, int(isinstance(failed, Outcome))
            else:
                call.since_s = loop.time() if results else began_s
                rest = lane, partial(self._run, call, Begun(started, waits_for))
            break
        tried += len(results)
        if tried:
            took_s = loop.time() - began_s
            self._counters.handled += len(results) + finished
            self._counters.durations.record(took_s / tried, tried)
            self._pipeline.handle_s += took_s
        return results, rest

    async def _run(  # noqa: C901, PLR0912 -- see the comment
        self, call: Call, begun: Begun | None = None
    ) -> "Outcome | Later[Outcome | None] | None":
        # Not split further: what is awaited here is resumed through every coroutine around it.
        event = call.event
        batch = event.batch
        loop = self._loop or self._find_loop()
        if call.answer is not None:  # it began with one before it
            call.since_s = loop.time()
        elif begun is None:
            if batch.permission() is _WAIT and not batch.closing:
                return await self._hold(call)
            if self.parked:
                self._unpark(call)
            if batch.closing and self._leaves(call):
                return None
            call.since_s = loop.time()
            note_begun(call, batch)
        began_s = call.since_s
        deadlines = self._deadlines
        outcome: Outcome | Later[Outcome | None] | None
        deadlines.enter(call, loop, began_s)
        try:
            if begun is not None:
                returned = await begun
            elif call.answer is not None:
                returned = await answered(call, self._call)
            elif not self._is_async:
                returned = self._call(event)
            elif self._tracing.active:
                with self._tracing.current(batch, event.index):
                    returned = await self._call(event)
            else:
                returned = await self._call(event)
            if self._is_async and is_over(call.task):
                raise asyncio.CancelledError  # noqa: TRY301 -- as its task would end
            results: Results = returned if type(returned) is dict else to_results(returned)
            outcome = (
                Outcome(batch, event.index, results)
                if self._changelog is None
                else self._finished(self._changelog, event, results)
            )
        except (Exception, asyncio.CancelledError) as exc:
            outcome = self._failed(call, exc, loop)
            if outcome is None:
                raise
        finally:
            deadlines.leave(call)
        took_s = loop.time() - began_s
        self._counters.durations.record(took_s)
        self._pipeline.handle_s += took_s
        if isinstance(outcome, Later):
            return outcome
        self._counters.handled += 1
        if call.lane is not None:
            self._leave(call)
        return outcome

    def _cancelled(self, call: Call) -> TransientError | None:
        """What a cancelled attempt failed of; ``None`` if somebody wants the call to end."""
        if self._deadlines.timed_out(call):
            return HandlerTimeoutError(f"no result within {self._deadlines.timeout_s:g} s")
        if call.task is not None and cancelled_by_others(call.task) == 0:
            return TransientError(FROM_INSIDE)  # its task, or something that it awaited
        return None

    def _failed(
        self,
        call: Call,
        raised: Exception | asyncio.CancelledError,
        loop: asyncio.AbstractEventLoop,
    ) -> "Outcome | Later[Outcome | None] | None":
        """What follows a failed attempt in a worker: an outcome, or the next attempt.

        ``None`` if it was cancelled by somebody who wants the call to end.
        """
        # Not in a variable of the caller, whose frame it refers to: that would be a cycle.
        error = raised if isinstance(raised, Exception) else self._cancelled(call)
        if error is None:
            return None
        event = call.event
        if self._changelog is not None:
            if self._is_async:
                self._changelog.store.undo_for(event)
            else:  # nothing has come in between, and it may have named its partition
                self._changelog.store.undo()
        decided = self._attempts.after(event, error)
        call.transient = classify(error) is ErrorKind.TRANSIENT
        if isinstance(decided, Outcome):
            return decided
        set_aside(call)
        self._park(call, loop.time())
        return Later(decided, call)

    def _find_loop(self) -> asyncio.AbstractEventLoop:
        """The loop, asked for once: on Python 3.11 each question is a system call."""
        self._loop = asyncio.get_running_loop()
        return self._loop

    def _finished(self, changelog: Changelog, event: Event, results: Results) -> Outcome | None:
        """What a successful attempt came to; ``None`` if there is nothing to publish."""
        if self._changes and changelog.store.settle_for(event):
            if not results and type(results) is not dict:  # an empty mapping is a result
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
        batch = call.event.batch
        if batch.begun is not None and not call.away and batch.handover is not Handover.FINISH:
            note_begun(call, batch)
            set_aside(call)  # or a drain would wait for a circuit that may be open for longer
        self._park(call, now_s)
        retry_at_s = circuit.retry_at_s()
        wait_s = CIRCUIT_POLL_S if retry_at_s is None else retry_at_s - now_s
        return Later(max(CIRCUIT_POLL_S, wait_s), call)


async def _given(failed: "Outcome | Later[Outcome | None]") -> "Outcome | Later[Outcome | None]":
    return failed

"""What a handler does comes to the same, whichever way it is called.

The steps of an attempt stand several times in the dispatcher, for speed: for plain functions one
by one, many at once or in a worker, for coroutines that end at once or wait, for batches.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import pytest

from service import Event, PermanentError, Result, TransientError, handler
from service.delivery.circuit import CircuitPolicy
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher
from service.errors import FatalError
from service.events import (
    Envelope,
    EventBatch,
    Handled,
    Outcome,
    Permission,
    RecordBatch,
    SourceRecord,
)
from service.handlers import load_handler
from service.metrics import PipelineCounters
from service.normalizers.base import TOMBSTONE
from service.pipeline import Branch
from service.publishers.changelog import Changelog
from service.publishers.results import ResultWriter
from service.state.keyed import Partition
from service.state.store import LoggedState, LoggedStore
from service.streams import iter as stream_of

HERE: Final = ("in", 0)
SUBJECT: Final = 1
"""The place of the event in question; the ones before and behind it are usual ones."""
RETRY: Final = RetryPolicy(attempts=3, initial_s=0.5, jitter=0)


class World:
    """What the handlers of this module know beside their event."""

    def __init__(self, state: LoggedState) -> None:
        self.state = state
        self.tried: set[int] = set()

    def count(self, place: Event | Partition, key: str) -> Any:
        """Count in the state, and return the count."""
        count = (self.state.get(place, key) or 0) + 1
        self.state.put(place, key, count)
        return count


HANGS: Final = object()
worlds: list[World] = []


# -- what a handler may do ------------------------------------------------------------------------


def _raises(error: BaseException) -> Any:
    raise error


def _flaky(event: Event, error: BaseException) -> Any:
    return {"tried": event.attempts} if event.attempts else _raises(error)


def _counts(event: Event, returned: Any = None) -> Any:
    worlds[-1].count(event, "subject")
    return returned


def _counts_for_partition(event: Event) -> Any:
    count = worlds[-1].count(Partition(event.topic, event.partition), "subject")
    return _flaky(event, TransientError("as asked")) | {"count": count}


def _counts_and_fails(event: Event, error: Exception) -> Any:
    count = worlds[-1].count(event, "subject")
    return _flaky(event, error) | {"count": count}


def _says_what_it_is(event: Event) -> Any:
    return {"type": event.type, "headers": [name for name, _ in event.headers]}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a handler does to the event in question.

    Attributes:
        does: Returns what the handler returns, or raises.
        comes_to: Values of the results; or the code of the dead letter; or the fatal error.
        given: Changes the batch before it is dispatched.
        plain: Whether only a plain function does so, or promises what is expected.
        waits: Whether only what can wait does so.
    """

    does: Callable[[Event], Any]
    comes_to: Any
    given: Callable[[EventBatch], None] = lambda _: None
    plain: bool = False
    waits: bool = False


USUAL: Final = {"n": 1}


def _usual(event: Event) -> Any:
    del event
    return USUAL


def _tombstone(events: EventBatch) -> None:
    cast("Any", events.batch.records)[SUBJECT] = SourceRecord(None, key=b"subject", offset=1)
    cast("Any", events.data)[SUBJECT] = TOMBSTONE
    events.tombstones = [SUBJECT]


def _enveloped(events: EventBatch) -> None:
    events.envelopes = [None, Envelope("a type", (("ce_id", b"1"),)), None]


def _tried_before(events: EventBatch) -> None:
    events.batch.inherited = {SUBJECT: 2}


def _finished_before(events: EventBatch) -> None:
    events.batch.finished_by = {"h": {SUBJECT}, "other": {0}}


def _for_several(events: EventBatch) -> None:
    events.batch.fan_out(("h", "other"))


def _closing(events: EventBatch) -> None:
    events.batch.closing = True


def _closing_of_several(events: EventBatch) -> None:
    _for_several(events)
    _closing(events)


def _closing_begun(events: EventBatch) -> None:
    """Another handler has begun it, and those around it are nobody's."""
    _closing_of_several(events)
    events.batch.begun = bytearray(b"\0\1\0")


def _revoked(events: EventBatch) -> None:
    events.batch.revoked = True


NOTHING: Final[list[Any]] = []

BEHAVIOURS: Final = {
    "nothing": Behaviour(lambda _: None, NOTHING),
    "mapping": Behaviour(_usual, [USUAL]),
    "empty mapping": Behaviour(lambda _: {}, [{}]),
    "result": Behaviour(lambda _: Result(USUAL), [USUAL]),
    "result elsewhere": Behaviour(lambda _: Result(USUAL, topic="t", key=b"k"), [USUAL]),
    "result with text for a key": Behaviour(lambda _: Result(USUAL, key="k"), [USUAL]),
    "result with headers": Behaviour(lambda _: Result(USUAL, headers={"a": "b"}), [USUAL]),
    "result that is a tombstone": Behaviour(lambda _: Result(None), [None]),
    "result without a topic": Behaviour(lambda _: Result(USUAL, topic="?"), "handler"),
    "list": Behaviour(lambda _: [USUAL, None, Result({}), {}], [USUAL, {}, {}]),
    "empty list": Behaviour(lambda _: [], NOTHING),
    "list of nothing": Behaviour(lambda _: [None], NOTHING),
    "generator": Behaviour(lambda _: (each for each in [USUAL, None]), [USUAL]),
    "generator that fails": Behaviour(
        lambda _: (_raises(PermanentError("late")) for _ in [0]), "handler"
    ),
    "text": Behaviour(lambda _: "text", ["text"]),
    "too much": Behaviour(lambda _: [USUAL] * 1001, "too_large"),
    "its event": Behaviour(lambda event: event, "handler"),
    "wrong type": Behaviour(lambda _: object(), "handler"),
    "list with a wrong type": Behaviour(lambda _: [USUAL, object()], "handler"),
    "transient": Behaviour(lambda _: _raises(TransientError("as asked")), "handler"),
    "transient once": Behaviour(lambda e: _flaky(e, TransientError()), [{"tried": 1}]),
    "transient for long": Behaviour(
        lambda e: _flaky(e, TransientError(retry_after_s=9)), [{"tried": 1}]
    ),
    "permanent": Behaviour(lambda _: _raises(PermanentError("as asked")), "handler"),
    "fatal": Behaviour(lambda _: _raises(FatalError("as asked")), FatalError),
    "other": Behaviour(lambda _: _raises(ValueError("secret")), "handler"),
    "other once": Behaviour(lambda e: _flaky(e, ValueError()), [{"tried": 1}]),
    "timeout of its own": Behaviour(lambda _: _raises(TimeoutError()), "handler"),
    "hangs": Behaviour(lambda _: HANGS, "timeout", waits=True),
    "cancelled": Behaviour(lambda _: _raises(asyncio.CancelledError()), "handler"),
    "cancelled once": Behaviour(lambda e: _flaky(e, asyncio.CancelledError()), [{"tried": 1}]),
    "stop iteration": Behaviour(lambda _: _raises(StopIteration("as asked")), "handler"),
    "group": Behaviour(
        lambda _: _raises(ExceptionGroup("g", [TransientError(), PermanentError("as asked")])),
        "handler",
    ),
    "group of transient ones": Behaviour(
        lambda e: _flaky(e, ExceptionGroup("g", [TransientError()])), [{"tried": 1}]
    ),
    "group with a fatal one": Behaviour(
        lambda _: _raises(ExceptionGroup("g", [ValueError(), FatalError("as asked")])), FatalError
    ),
    "changes": Behaviour(_counts, NOTHING),
    "changes, mapping": Behaviour(lambda e: _counts(e, USUAL), [USUAL]),
    "changes, empty mapping": Behaviour(lambda e: _counts(e, {}), [{}]),
    "changes, result": Behaviour(lambda e: _counts(e, Result(USUAL)), [USUAL]),
    "changes, empty list": Behaviour(lambda e: _counts(e, []), NOTHING),
    "changes, list": Behaviour(lambda e: _counts(e, [USUAL] * 2), [USUAL] * 2),
    "changes, wrong type": Behaviour(lambda e: _counts(e, object()), "handler"),
    "changes, transient once": Behaviour(
        lambda e: _counts_and_fails(e, TransientError()), [{"tried": 1, "count": 1}]
    ),
    "changes, permanent": Behaviour(
        lambda e: _counts_and_fails(e, PermanentError("as asked")), "handler"
    ),
    "changes the partition's": Behaviour(
        _counts_for_partition, [{"tried": 1, "count": 1}], plain=True
    ),
    "tombstone": Behaviour(lambda e: {"data": e.data}, [{"data": None}], _tombstone),
    "tombstone, transient once": Behaviour(
        lambda e: _flaky(e, TransientError()), [{"tried": 1}], _tombstone
    ),
    "envelope": Behaviour(_says_what_it_is, [{"type": "a type", "headers": ["ce_id"]}], _enveloped),
    "tried before": Behaviour(lambda e: {"tried": e.attempts}, [{"tried": 2}], _tried_before),
    "tried before, transient": Behaviour(
        lambda _: _raises(TransientError("as asked")), "handler", _tried_before
    ),
    "finished before": Behaviour(_usual, NOTHING, _finished_before),
    "of several handlers": Behaviour(_usual, [USUAL], _for_several),
    "of several handlers, transient once": Behaviour(
        lambda e: _flaky(e, TransientError()), [{"tried": 1}], _for_several
    ),
    "closing": Behaviour(_usual, NOTHING, _closing),
    "closing, of several handlers": Behaviour(_usual, NOTHING, _closing_of_several),
    "closing, begun by another handler": Behaviour(_usual, NOTHING, _closing_begun),
    "revoked": Behaviour(_usual, NOTHING, _revoked),
    "revoked, changes": Behaviour(lambda e: _counts(e, USUAL), NOTHING, _revoked),
}

does: list[Behaviour] = []


# -- the ways that it is called -------------------------------------------------------------------


def act(event: Event) -> Any:
    """Do to ``event`` what is asked for."""
    if event.index != SUBJECT:
        return {"n": event.index}
    worlds[-1].tried.add(event.attempts)
    return does[-1].does(event)


async def act_or_wait(event: Event) -> Any:
    """The same, of a coroutine function."""
    returned = act(event)
    return await asyncio.Event().wait() if returned is HANGS else returned


@handler("same.function")
def function(event: Event) -> Any:
    """One by one."""
    return act(event)


@handler("same.many")
class Many:
    """All at once."""

    def __call__(self, event: Event) -> Any:
        return act(event)

    def handle_many(self, events: EventBatch, wanted: Sequence[int]) -> list[tuple[int, Any]]:
        """See :class:`service.handlers.bound.BoundHandler`."""
        told: list[tuple[int, Any]] = []
        for index in wanted:
            record = events.batch.records[index]
            event = Event(events.data[index], record.key, batch=events.batch, index=index)
            if events.envelopes is not None and (envelope := events.envelopes[index]) is not None:
                envelope.around(event)
            if (returned := act(event)) is not None:
                told.append((index, returned))
        return told


@handler("same.coroutine")
async def coroutine(event: Event) -> Any:
    """Ends at once, if it can."""
    return await act_or_wait(event)


@handler("same.waits")
async def waits(event: Event) -> Any:
    """Waits first."""
    await asyncio.sleep(0.1)
    return await act_or_wait(event)


@handler("same.batch_of_one", batch=1)
async def batch_of_one(events: list[Event]) -> list[Any]:
    """Fails as a whole."""
    return [await act_or_wait(event) for event in events]


@handler("same.batch", batch=8, linger_s=0.1)
async def batch(events: list[Event]) -> list[Any]:
    """Says of each event what became of it."""
    await asyncio.sleep(0)  # as they do: a call that waits
    told: list[Any] = []
    for event in events:
        try:
            told.append(act(event))
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 -- as an item
            told.append(error)
    return told


@dataclass(frozen=True, slots=True)
class Way:
    """How events are given to a handler.

    Attributes:
        use: The handler.
        held_back: Whether nothing may begin at first, so that calls are made of plain functions.
        circuit: Whether there is a circuit breaker, so that all become calls of a worker.
    """

    use: str
    held_back: bool = False
    circuit: bool = False


WAYS: Final = {
    "coroutine that waits": Way("same.waits"),
    "coroutine": Way("same.coroutine"),
    "coroutine in a worker": Way("same.coroutine", circuit=True),
    "function": Way("same.function"),
    "function, many at once": Way("same.many"),
    "function in a worker": Way("same.function", held_back=True),
    "function behind a circuit": Way("same.function", circuit=True),
    "batch of one": Way("same.batch_of_one"),
    "batch": Way("same.batch"),
}


def _takes(way: str, behaviour: Behaviour) -> bool:
    if behaviour.waits:
        return way.startswith("coroutine") or way == "batch of one"
    return not behaviour.plain or way.startswith("function")


# -- what came of it ------------------------------------------------------------------------------


class Batch(RecordBatch):
    """One that may be held back until it is asked for the second time."""

    held_back = False

    def permission(self) -> Permission:
        """See :class:`service.events.RecordBatch`."""
        if self.held_back:
            self.held_back = False
            return Permission.WAIT
        return super().permission()


@dataclass(slots=True, kw_only=True)
class Seen:
    """What can be told from outside; of the event in question, if nothing else is said.

    Attributes:
        results: Value, topic and key of each.
        failure: Code, detail and attempts of its dead letter.
        around: Results of the events around it.
        done: Which of the records are acknowledged once all of this is durable.
        state: Keys and values.
        tried: Attempts that it was given with.
        counters: Handled, failed, retried, parked, and durations.
        left: In flight, noted attempts, changes that wait, results that wait, calls, lanes.
        fatal: What ended the pipeline.
    """

    results: list[Any]
    failure: Any = None
    around: list[Any]
    done: bytes = b""
    state: dict[str, Any]
    tried: set[int]
    counters: Any = None
    left: Any = None
    fatal: str = ""


class Writer:
    """In place of the real one: publishes at once, and remembers."""

    def __init__(self, changelog: Changelog, seen: Seen) -> None:
        self._changelog = changelog
        self._seen = seen

    def publish(self, outcomes: Sequence[Handled | Outcome | None]) -> None:
        """See :class:`service.publishers.results.ResultWriter`."""
        for item in outcomes:
            for each in item.outcomes() if isinstance(item, Handled) else [item]:
                if each is not None:
                    self._write(each)

    def _write(self, outcome: Outcome) -> None:
        place = outcome.batch, outcome.index
        if outcome.batch.revoked:
            outcome.batch.dropped([outcome.index])
            self._changelog.dropped(*place)
            return
        results = outcome.results
        if isinstance(results, dict):
            results = (Result(results),)
        seen = self._seen.results if outcome.index == SUBJECT else self._seen.around
        seen += [(each.value, each.topic, repr(each.key), each.headers) for each in results]
        if outcome.failure is not None:
            assert outcome.index == SUBJECT
            failure = outcome.failure
            detail, *_ = failure.detail.split(", called by")  # by what, is another matter
            self._seen.failure = failure.code, detail, failure.attempts
        if place in self._changelog.unwritten:
            self._changelog.wrote(*place, outcome.count)
        outcome.batch.ack(outcome.index)


async def _seen(way: Way, behaviour: Behaviour) -> Seen:
    """Give three events to a handler that does so to the second one."""
    store = LoggedStore(asyncio.get_running_loop().time)
    world = World(store.keyed("state", ttl_s=None, max_keys=100))
    store.open("state", HERE, store.reopen("state", HERE))
    worlds.append(world)
    does.append(behaviour)
    changelog = Changelog(store, cast("Any", None), {}, handler="h", transactional=True)
    counters = PipelineCounters("p")
    dispatcher = Dispatcher(
        load_handler(way.use).bind({}, name="h"),
        where=None,
        ordering="partition",
        timeout_s=5,
        retry=RETRY,
        counters=counters,
        tombstones=True,
        circuit=CircuitPolicy(failures=100) if way.circuit else None,
        changelog=changelog,
    )
    records = [SourceRecord(b"{}", key=b"subject", offset=n) for n in range(3)]
    records_batch = Batch(*HERE, records, next_offset=3)
    events = EventBatch(records_batch, [{"n": n} for n in range(3)])
    behaviour.given(events)
    if records_batch.begun is None:
        records_batch.dispatched = len(records)
    records_batch.held_back = way.held_back
    seen = Seen(results=[], around=[], state={}, tried=world.tried)
    writer = cast("ResultWriter", Writer(changelog, seen))

    try:
        branch = Branch(dispatcher=dispatcher, writer=writer, limit=64)
        await branch.run(stream_of([events]), max_waiting=100)
    except FatalError as error:
        seen.fatal = str(error)
        return replace(seen, results=[], around=[])  # it ends the process

    handled = counters.handler("h")
    seen.state = dict(world.state.items(Partition(*HERE)))
    seen.done = bytes(records_batch.done)
    seen.counters = {
        "handled": handled.handled,
        "failed": handled.failed,
        "timed out": handled.timed_out,
        "retries": handled.retries,
        "parked": handled.parked,
        "durations": handled.durations.count,
    }
    seen.left = {
        "in flight": records_batch.in_flight,
        "attempts": records_batch.attempts,
        "absent": records_batch.absent,
        "changes": list(store.changes),
        "unwritten": set(changelog.unwritten),
        "dirty": sorted(world.state.tables[HERE].dirty),
        "parked": list(dispatcher.calls.parked),
        "running": list(dispatcher.calls.running),
        "lanes": dict(dispatcher.calls.lanes),
    }
    return seen


@pytest.mark.parametrize(
    ("name", "way"),
    [(name, way) for name, each in BEHAVIOURS.items() for way in WAYS if _takes(way, each)],
)
async def test_it_comes_to_the_same(name: str, way: str) -> None:
    behaviour = BEHAVIOURS[name]
    usual = next(each for each in WAYS if _takes(each, behaviour))

    expected = await _seen(WAYS[usual], behaviour)
    seen = await _seen(WAYS[way], behaviour)

    assert seen == expected
    if behaviour.comes_to is FatalError:
        assert seen.fatal == "as asked"
    elif isinstance(behaviour.comes_to, str):
        assert seen.failure[0] == behaviour.comes_to
    else:
        assert [value for value, *_ in seen.results] == behaviour.comes_to

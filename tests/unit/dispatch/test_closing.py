"""What several handlers leave to the next owner of a partition, and in which order."""

from typing import Any, cast

from service import Event, TransientError, handler
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher
from service.dispatch.call import Call
from service.events import EventBatch, Handled, RecordBatch, SourceRecord
from service.handlers.spec import registered
from service.metrics import PipelineCounters
from service.streams import Later


@handler("closing_tests")
def flaky(event: Event) -> dict[str, Any]:
    """Fails at first if the event says so."""
    if event.data.get("flaky") and event.attempts == 0:
        raise TransientError("not yet")
    return {"n": event.data["n"]}


def _dispatcher() -> Dispatcher:
    return Dispatcher(
        registered()["closing_tests"].bind({}, name="h"),
        where=None,
        ordering="key",
        timeout_s=10,
        retry=RetryPolicy(initial_s=1),
        counters=PipelineCounters("p"),
    )


def _batch(*events: tuple[bytes, dict[str, Any]], offset: int, epoch: int = 1) -> EventBatch:
    """A batch that another handler waits for as well."""
    records = [SourceRecord(b"{}", key=key, offset=offset + n) for n, (key, _) in enumerate(events)]
    batch = RecordBatch("in", 0, records, next_offset=offset + len(records), epoch=epoch)
    batch.fan_out(("a", "b"))
    return EventBatch(batch, [data for _, data in events])


async def _outcomes(dispatcher: Dispatcher, *batches: EventBatch) -> list[int | None]:
    """What comes of events now: their numbers, ``None`` for those that are left."""
    found: list[int | None] = []
    for item in dispatcher.handle(batches):
        if isinstance(item, Handled):
            found += [cast("Any", result)["n"] for result in item.results]
            continue
        assert isinstance(item, Call)
        outcome = await item()
        while isinstance(outcome, Later):
            outcome = await outcome.call()
        found.append(None if outcome is None else cast("Any", outcome.results)["n"])
    return found


async def test_a_plain_function_leaves_what_comes_after_an_event_that_it_has_left() -> None:
    dispatcher = _dispatcher()
    first = _batch((b"a", {"n": 0, "flaky": True}), offset=0)
    (waiting,) = dispatcher.handle([first])
    later = _batch((b"a", {"n": 1}), (b"b", {"n": 2}), offset=1)
    later.batch.begun = bytearray(b"\1\1")  # by the other handler
    first.batch.closing = later.batch.closing = True

    assert isinstance(waiting, Call)
    assert isinstance(later_of := await waiting(), Later)
    assert await later_of.call() is None
    assert await _outcomes(dispatcher, later) == [None, 2]
    assert (first.batch.in_flight, later.batch.in_flight) == (0, 1)
    assert list(later.batch.attempts or ()) == [0]  # so that it is known to have begun


async def test_the_next_assignment_begins_with_nothing_left() -> None:
    dispatcher = _dispatcher()
    old = _batch((b"a", {"n": 0}), offset=0)
    old.batch.closing = True
    new = _batch((b"a", {"n": 0}), (b"a", {"n": 1}), offset=0, epoch=2)

    assert await _outcomes(dispatcher, old) == [None]
    new.batch.begun = bytearray(b"\1\1")
    new.batch.closing = True

    assert await _outcomes(dispatcher, new) == [0, 1]

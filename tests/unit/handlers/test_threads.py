import threading
import time

import pytest

from service.events import Event, RecordBatch, SourceRecord
from service.handlers.spec import make_spec

_EVENT = Event({}, batch=RecordBatch("t", 0, [SourceRecord(b"")], next_offset=1))


def _thread_name(event: Event) -> str:
    del event
    time.sleep(0.01)
    return threading.current_thread().name


def _broken(_event: Event) -> None:
    raise ValueError("broken")


@pytest.mark.real_loops
async def test_a_sync_handler_runs_in_a_thread_of_its_own_and_may_block() -> None:
    bound = make_spec(_thread_name, name="x", run_in="thread", concurrency=2).bind(name="mine")

    assert bound.is_async
    assert (await bound.call(_EVENT)).startswith("headrace-mine")
    await bound.close()


@pytest.mark.real_loops
async def test_what_it_raises_comes_out() -> None:
    bound = make_spec(_broken, name="x", run_in="thread").bind()

    with pytest.raises(ValueError, match="broken"):
        await bound.call(_EVENT)
    await bound.close()

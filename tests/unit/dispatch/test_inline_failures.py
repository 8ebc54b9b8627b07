"""What a plain function leaves behind that has failed."""

import sys

from service import Event, PermanentError, handler
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher
from service.events import EventBatch, RecordBatch, SourceRecord
from service.handlers import load_handler
from service.metrics import PipelineCounters


@handler("inline_failures.fail")
def fail(event: Event) -> None:
    raise PermanentError(event.data["text"])


async def test_no_batch_waits_for_the_cycle_collector() -> None:
    """It looks rarely, and while a dependency is away every event fails."""
    dispatcher = Dispatcher(
        load_handler("inline_failures.fail").bind({}, name="h"),
        where=None,
        ordering="none",
        timeout_s=10,
        retry=RetryPolicy(),
        counters=PipelineCounters("p"),
    )
    batch = RecordBatch("in", 0, [SourceRecord(b"")], next_offset=1)
    held = sys.getrefcount(batch)

    dispatcher.handle([EventBatch(batch, [{"text": "no"}])])

    assert sys.getrefcount(batch) == held

"""A pipeline's results as a source of another: opened, bounded, ended from the other side."""

import asyncio
from collections.abc import Sequence

from service.channels import channel
from service.consumers.chain import ChainSource
from service.delivery.chained import ChainedBatch
from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters


def untold(indexes: Sequence[int]) -> None:
    """Somebody who does not want to know."""


def source(counters: PipelineCounters, capacity: int = 10_000) -> ChainSource:
    return ChainSource("next.first", capacity=capacity, max_bytes=1000, counters=counters)


def result(upstream: RecordBatch | None = None) -> ChainedBatch:
    first = upstream or RecordBatch("in", 0, [SourceRecord(b"")], next_offset=1)
    return ChainedBatch(first, [0], [SourceRecord(b"")], via="first/h", passed_on=untold)


async def test_it_opens_with_its_channel_and_closes_it_when_the_other_pipeline_ends() -> None:
    counters = PipelineCounters("next")
    feed = source(counters)
    sender, receiver = channel[RecordBatch](1)
    batch = result()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed.run(sender))
        await feed.opened()
        feed.stop_intake()  # the other pipeline still has something to send
        taken = feed.try_send(batch)
        refused = feed.try_send(result())
        feed.end()

    assert (taken, refused) == (True, False)
    assert [each async for each in receiver] == [batch]


async def test_what_waits_for_room_when_the_other_pipeline_ends_still_comes() -> None:
    feed = source(PipelineCounters("next"))
    sender, receiver = channel[RecordBatch](1)
    batches = [result(), result()]

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed.run(sender))
        await feed.opened()
        for batch in batches:
            tasks.create_task(feed.send(batch))
        await asyncio.sleep(1)
        feed.end()
        await asyncio.sleep(1)
        found = [each async for each in receiver]

    assert found == batches


async def test_what_comes_after_the_end_is_taken_by_nobody_and_not_acknowledged() -> None:
    feed = source(PipelineCounters("next"))
    batch = result()
    feed.end()

    await feed.send(batch)

    assert (feed.try_send(batch), batch.left) == (True, 1)


def test_a_batch_is_never_larger_than_the_channel() -> None:
    assert source(PipelineCounters("next"), capacity=7).batch_records == 7

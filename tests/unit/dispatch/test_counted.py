"""Records of sources that count nothing by themselves are counted as they are normalized."""

import asyncio
from typing import ClassVar

from service.delivery.chained import ChainedBatch
from service.dispatch import Normalize
from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.normalizers import load_normalizer


class SelfCounted(RecordBatch):
    """Of a source that counts."""

    counted: ClassVar[bool] = True


def normalize(counters: PipelineCounters) -> Normalize:
    return Normalize(load_normalizer("json"), failed=lambda _: None, counters=counters)


def records() -> list[SourceRecord]:
    return [SourceRecord(b"{}"), SourceRecord(b"[1]")]


async def test_what_comes_in_and_what_is_done_is_counted_with_its_latency() -> None:
    counters = PipelineCounters("p")
    await asyncio.sleep(5)
    now_s = asyncio.get_running_loop().time()
    batch = RecordBatch("feed", 0, records(), next_offset=2, size_bytes=5, received_at_s=now_s)

    step = normalize(counters)
    step([batch])
    assert (counters.records_in, counters.bytes_in, counters.batches) == (2, 5, 1)
    assert step.in_flight == 2
    await asyncio.sleep(3)
    batch.ack(0)
    assert (counters.acked, step.in_flight) == (0, 1)
    batch.ack(1)

    assert (counters.acked, step.in_flight) == (2, 0)
    assert sum(counters.latency.counts) == 2
    assert round(counters.latency.sum_s) == 6


async def test_a_batch_that_does_not_say_when_it_came_has_no_latency() -> None:
    counters = PipelineCounters("p")
    batch = RecordBatch("feed", 0, records(), next_offset=2)

    normalize(counters)([batch])
    batch.ack_all_but(())

    assert counters.acked == 2
    assert not sum(counters.latency.counts)


async def test_results_of_another_pipeline_count_unless_their_records_are_revoked() -> None:
    counters = PipelineCounters("next")
    stale = RecordBatch("in", 0, [SourceRecord(b"{}")], next_offset=1)
    kept = RecordBatch("in", 1, [SourceRecord(b"{}")], next_offset=1)
    batches = [
        ChainedBatch(first, (0,), [SourceRecord(b"{}")], via="p/h", passed_on=lambda _: None)
        for first in (stale, kept)
    ]

    step = normalize(counters)
    step(batches)
    assert step.in_flight == 2
    stale.revoked = True
    assert step.in_flight == 1
    for batch in batches:
        batch.ack(0)

    assert (counters.records_in, counters.batches) == (2, 2)
    assert (counters.acked, counters.stale_acks) == (1, 1)
    assert step.in_flight == 0


async def test_sources_that_count_are_not_counted_twice() -> None:
    counters = PipelineCounters("p")
    batch = SelfCounted("in", 0, records(), next_offset=2, received_at_s=1.0)

    step = normalize(counters)
    step([batch])
    assert step.in_flight == 0
    batch.ack_many((0, 1))

    assert (counters.records_in, counters.acked) == (0, 0)

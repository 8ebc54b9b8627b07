"""What a call of a handler costs inside the process: plain functions beside coroutine functions.

A whole pipeline, from the channel of record batches to produce batches, without a network: the
same records with handlers that return at once and with handlers that wait.  In processor time,
interleaved, medians; beside them bare timers, which is all that waiting costs by itself.

    python -m benchmarks.library.pipelines [--rounds N] [--loop asyncio|uvloop]
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

import uvloop

from benchmarks.jobs.log_events import CALL_S, log_key, log_value
from benchmarks.library.instant import InstantPublisher
from service.app.collector import calm_collector
from service.channels import channel
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher, Normalize
from service.dispatch.lanes import Ordering
from service.events import RecordBatch, SourceRecord
from service.handlers import load_handler
from service.metrics import PipelineCounters
from service.normalizers import load_normalizer
from service.pipeline import Branch, Pipeline
from service.publishers.results import ResultWriter
from service.telemetry import Tracing

RECORDS = 384
BATCHES = 100
CONCURRENCY = 1000


def batches(*, keys: bool) -> list[RecordBatch]:
    """Records of four partitions, with 10,000 keys or none."""
    made = []
    for number in range(BATCHES):
        records = [
            SourceRecord(
                log_value(number * RECORDS + index),
                key=log_key(number * RECORDS + index) if keys else None,
                offset=number * RECORDS + index,
                timestamp=1_700_000_000_000,
            )
            for index in range(RECORDS)
        ]
        made.append(RecordBatch("logs.raw", number % 4, records, next_offset=10_000_000))
    return made


async def through(handler: str, ordering: Ordering, *, keys: bool = True) -> float:
    """Run all batches through one pipeline; returns the microseconds an event took."""
    counters = PipelineCounters("bench")
    sender, inbox = channel[RecordBatch](10_000, items_of=len)
    writer = ResultWriter(
        InstantPublisher(("out", "dead"), at_once=True),
        pipeline="bench",
        handler="h",
        output="out",
        dead_letter="dead",
        counters=counters,
        idle=lambda: not len(inbox),
        tracing=Tracing(None),
    )
    dispatcher = Dispatcher(
        load_handler(handler).bind({}, name="h"),
        where=None,
        ordering=ordering,
        timeout_s=10,
        retry=RetryPolicy(),
        counters=counters,
    )
    pipeline = Pipeline(
        "bench",
        inbox,
        normalize=Normalize(load_normalizer("log"), failed=writer.publish, counters=counters),
        branches=[Branch(dispatcher=dispatcher, writer=writer, limit=CONCURRENCY)],
        capacity=10_000,
    )
    made = batches(keys=keys)

    async def feed() -> None:
        async with sender:
            for batch in made:
                await sender.send(batch)

    async with asyncio.TaskGroup() as tasks:
        began_s = time.process_time()
        tasks.create_task(feed())
        await pipeline.run()
    took_s = time.process_time() - began_s
    assert all(not batch.left for batch in made), "some records are not acknowledged"
    return took_s / (RECORDS * BATCHES) * 1e6


async def bare_timers() -> float:
    """As many waits, and nothing else."""
    left = RECORDS * BATCHES

    async def wait_again_and_again() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await asyncio.sleep(CALL_S)

    began_s = time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(CONCURRENCY):
            tasks.create_task(wait_again_and_again())
    return (time.process_time() - began_s) / (RECORDS * BATCHES) * 1e6


WAITING = "benchmarks.jobs.handlers:wait_and_tell"
BATCH = "benchmarks.jobs.handlers:store_and_tell"
AT_ONCE = "benchmarks.jobs.handlers:keyed_alert"
CONTENDERS: dict[str, Callable[[], Coroutine[Any, Any, float]]] = {
    "plain function": partial(through, "benchmarks.jobs.handlers:plain_alert", "key"),
    "coroutine that does not wait, unordered": partial(through, AT_ONCE, "none"),
    "coroutine that does not wait, per key": partial(through, AT_ONCE, "key"),
    "coroutine that waits 10 ms, unordered": partial(through, WAITING, "none"),
    "coroutine that waits 10 ms, per key": partial(through, WAITING, "key"),
    "batches that wait 10 ms, per key": partial(through, BATCH, "key"),
    "batches that wait 10 ms, no keys": partial(through, BATCH, "key", keys=False),
    "bare timers": bare_timers,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="uvloop")
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    run = uvloop.run if arguments.loop == "uvloop" else asyncio.run
    calm_collector()
    figures: dict[str, list[float]] = {name: [] for name in CONTENDERS if arguments.only in name}
    for number in range(arguments.rounds + 1):
        for name, values in figures.items():
            took_us = run(CONTENDERS[name]())
            if number:
                values.append(took_us)
    for name, values in figures.items():
        print(f"{name:42} {statistics.median(values):6.2f} us an event (min {min(values):.2f})")


if __name__ == "__main__":
    main()

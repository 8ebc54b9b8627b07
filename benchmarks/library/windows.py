"""What an event of `rolling_metrics` costs inside the process, and how many a second that allows.

The service's own path without a network: stored batches of JSON records of 10,000 keys, decoded,
normalized, dispatched, added to their windows, changed keys into the changelog, results of closed
windows published, everything acknowledged.  Event time runs as fast as 100,000 events a second
would make it run, so a checkpoint falls due after as many records as it would in service, or
earlier if the runtime asks for it.  Measured in processor time; the report names each part.

    python -m benchmarks.library.windows [--rounds N] [--window tumbling|hopping|session]
"""

import argparse
import asyncio
import random
import statistics
import time
from itertools import pairwise
from typing import Any

import orjson

from benchmarks.library.instant import InstantPublisher
from benchmarks.library.stored import records_of, stored
from service.app.collector import calm_collector
from service.consumers.base import TopicPartition
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher, Normalize
from service.events import RecordBatch
from service.handlers import Clients, HandlerContext, load_handler
from service.metrics import PipelineCounters
from service.normalizers import load_normalizer
from service.publishers.changelog import Changelog
from service.publishers.results import ResultWriter
from service.settings import MemorySettings
from service.state.store import LoggedStore
from service.telemetry import Tracing

KEYS = 10_000
PARTITIONS = 4
EVENTS_PER_S = 100_000
RECORDS = 1000
BATCHES = 200
EARLY_RECORDS = MemorySettings().max_records // 4
START_MS = 1_700_000_000_000

_PLACE = "values"


def stored_round(number: int) -> list[tuple[int, bytes]]:
    """One round's batches, each with its partition: a key is always in the same one."""
    rng = random.Random(number)

    def row(place: int, partition: int) -> tuple[int, bytes, bytes]:
        key = rng.randrange(KEYS // PARTITIONS) * PARTITIONS + partition
        value = orjson.dumps({"sensor": key, "value": round(rng.lognormvariate(3, 0.5), 3)})
        return START_MS + place * 1000 // EVENTS_PER_S, b"sensor-%d" % key, value

    batches = []
    for index in range(BATCHES):
        partition = index % PARTITIONS
        first = (number * BATCHES + index) * RECORDS
        rows = (row(first + place, partition) for place in range(RECORDS))
        batches.append((partition, stored(rows)))
    return batches


class _Source(RecordBatch):
    """Counts its records when all of them are acknowledged."""

    __slots__ = ("service",)

    service: "Service"

    def on_complete(self) -> None:
        self.service.done += len(self)


class Service:
    """The service's own path, without network; checkpoints are taken by the round's own clock."""

    def __init__(self, options: dict[str, Any]) -> None:
        counters = PipelineCounters("metrics")
        topics = {name: f"changelog-{name}" for name in ("windows", "time")}
        self.publisher = InstantPublisher(
            ("figures", "dead", *topics.values()), partitions=PARTITIONS
        )
        self.writer = ResultWriter(
            self.publisher,
            pipeline="metrics",
            handler="rolling",
            output="figures",
            dead_letter="dead",
            counters=counters,
            idle=lambda: False,
            tracing=Tracing(None),
        )
        loop = asyncio.get_running_loop()
        self.store = LoggedStore(loop.time)
        self.changelog = self.writer.changes = Changelog(
            self.store, self.publisher, topics, handler="rolling", transactional=False
        )
        self.normalize = Normalize(
            load_normalizer("json"), failed=self.writer.publish, counters=counters
        )
        self.dispatcher = Dispatcher(
            load_handler("rolling_metrics").bind(options, name="rolling"),
            where=None,
            ordering="key",
            timeout_s=10,
            retry=RetryPolicy(),
            counters=counters,
            changelog=self.changelog,
        )
        self.parts = dict.fromkeys(("decode", "normalize", "handle", "publish", "changelog"), 0.0)
        self.done = 0

    async def open(self) -> None:
        """Open the handler and give it its partitions."""
        handler = self.dispatcher.handler
        await handler.open(
            HandlerContext(
                pipeline="metrics",
                handler="rolling",
                options=handler.options,
                clients=Clients(),
                state=self.store,
                emit=lambda _: asyncio.sleep(0),
            )
        )
        for name in self.store.states:
            for number in range(PARTITIONS):
                at = (_PLACE, number)
                self.store.open(name, at, self.store.reopen(name, at))

    def run(self, batches: list[tuple[int, bytes]]) -> int:
        """Everything between the fetch and the produce request; returns the records done."""
        self.done = waiting = 0
        parts, clock = self.parts, time.process_time
        for partition, data in batches:
            marks = [clock()]
            records = records_of(data, TopicPartition(_PLACE, partition), RECORDS)
            source = _Source(_PLACE, partition, records, next_offset=RECORDS)
            source.service = self
            marks.append(clock())
            events = self.normalize([source])
            marks.append(clock())
            outcomes = self.dispatcher.handle(events)
            marks.append(clock())
            self.writer.publish(outcomes)  # type: ignore[arg-type]
            self.publisher.answer()
            marks.append(clock())
            waiting += len(records)
            if waiting >= EARLY_RECORDS:
                waiting = 0
                self._checkpoint()
            marks.append(clock())
            for name, (since, until) in zip(parts, pairwise(marks), strict=True):
                parts[name] += until - since
        began_s = clock()
        self._checkpoint()
        parts["changelog"] += clock() - began_s
        return self.done

    def _checkpoint(self) -> None:
        """What the changelog's timer does, and the broker's answer to it."""
        if self.changelog._timer is not None:
            self.changelog._timer.cancel()
        self.changelog._due()
        self.publisher.added(urgent=True)
        self.publisher.answer()


async def _main(rounds: int, options: dict[str, Any]) -> None:
    service = Service(options)
    await service.open()
    calm_collector()
    events = RECORDS * BATCHES
    figures: list[float] = []
    for number in range(rounds + 1):
        batches = stored_round(number)
        if number == 1:  # the first one warms up
            service.parts = dict.fromkeys(service.parts, 0.0)
            service.publisher.stored.clear()
        began_s = time.process_time()
        done = service.run(batches)
        took_s = time.process_time() - began_s
        assert done == events, done
        if number:
            figures.append(took_s / events * 1e6)
    # The mean: rounds in which windows end cost more, and they belong to it.
    mean_us = statistics.fmean(figures)
    print(
        f"{mean_us:.3f} us an event (rounds {min(figures):.3f} to {max(figures):.3f}), "
        f"{1e6 / mean_us:,.0f} events a CPU second over {KEYS:,} keys"
    )
    for name, spent_s in service.parts.items():
        print(f"  {name:10} {spent_s / (events * rounds) * 1e6:6.3f} us")
    stored_records = service.publisher.stored
    results = stored_records.pop("figures", 0)
    print(
        f"  {stored_records.total() / (events * rounds):.3f} changes and "
        f"{results / (events * rounds):.3f} results an event"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="of two seconds of event time each")
    parser.add_argument("--window", default="tumbling")
    parser.add_argument("--size", type=float, default=10, help="seconds of a window")
    arguments = parser.parse_args()
    asyncio.run(
        _main(
            arguments.rounds,
            {"window": arguments.window, "size_s": arguments.size, "lateness_s": 1},
        )
    )

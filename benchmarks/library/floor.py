"""What an event costs inside the process, beside the floor that no Python service can go below.

The floor is the work itself, written as one loop: check and decode a stored batch, parse, look at
the level, build the alert, encode it, append it to a produce batch.  Beside it runs the service's
own path on the very same bytes, without a network: tap, source batch, normalizer, filter, handler,
writer, publisher.  Both are measured in processor time, interleaved, medians.

    python -m benchmarks.library.floor [--rounds N]
"""

import argparse
import asyncio
import statistics
import time

import orjson
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from benchmarks.jobs.log_events import log_value
from benchmarks.library.instant import InstantPublisher
from benchmarks.library.stored import BATCH_BYTES, records_of, stored
from service.app.collector import calm_collector
from service.consumers.base import TopicPartition
from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher, Normalize
from service.events import RecordBatch
from service.handlers import load_handler
from service.metrics import PipelineCounters
from service.normalizers import load_normalizer
from service.publishers.results import ResultWriter
from service.telemetry import Tracing
from service.where import compile_where

RECORDS = 400
"""About as many as the service puts into a batch of its own (`CHUNK_RECORDS` of the intake)."""
BATCHES = 50


def stored_logs() -> list[bytes]:
    """The batches that are worked on."""
    logs = [(1_700_000_000_000, None, log_value(number)) for number in range(RECORDS * BATCHES)]
    return [stored(logs[at : at + RECORDS]) for at in range(0, len(logs), RECORDS)]


def floor(batches: list[bytes]) -> int:
    """The work itself, as one loop."""
    loads, dumps = orjson.loads, orjson.dumps
    wanted = {"WARN", "ERROR"}
    published = 0
    for data in batches:
        raw = MemoryRecords(data).next_batch()
        raw.validate_crc()
        builder = BatchBuilder(BATCH_BYTES, 0)._builder
        append = builder.append
        for record in raw:
            event = loads(record.value)
            level = event["level"]
            if level not in wanted:
                continue
            message = event["message"]
            alert = {
                "level": level,
                "message": message,
                "alert": f"[ALERT - {level}] {message}",
                "timestamp": event["timestamp"],
                "service": event["service"],
            }
            append(published, None, record.key, dumps(alert), [])
            published += 1
        builder.build()
    return published


class Service:
    """The service's own path, without network and event loop.

    Args:
        tracing: Of the pipeline; off if not given.
    """

    def __init__(self, tracing: Tracing | None = None) -> None:
        self.counters = counters = PipelineCounters("logs")
        self._tracing = tracing or Tracing(None)
        self.publisher = InstantPublisher(("alerts", "logs.dead"))
        self.writer = ResultWriter(
            self.publisher,
            pipeline="logs",
            handler="alerts",
            output="alerts",
            dead_letter="logs.dead",
            counters=counters,
            idle=lambda: False,
            tracing=self._tracing,
        )
        self.normalize = Normalize(
            load_normalizer("log"),
            failed=self.writer.publish,
            counters=counters,
            tracing=self._tracing,
        )
        self.dispatcher = Dispatcher(
            load_handler("log_alerts").bind({}, name="alerts"),
            where=compile_where({"field": "level", "in": ["WARN", "ERROR"]}),
            ordering="key",
            timeout_s=10,
            retry=RetryPolicy(),
            counters=counters,
            tracing=self._tracing,
        )
        self.normalize.preselect([self.dispatcher.where])

    def run(self, batches: list[bytes]) -> int:
        """Everything between the fetch and the produce request."""
        published = 0
        for number, data in enumerate(batches):
            records = records_of(data, TopicPartition("logs.raw", 0), RECORDS)
            source = RecordBatch("logs.raw", number % 4, records, next_offset=RECORDS)
            outcomes = self.dispatcher.handle(self.normalize([source]))
            self.writer.publish(outcomes)  # type: ignore[arg-type]  # the handler does not wait
            published += self.publisher.answer()
            if self._tracing.active:
                self._tracing.completed(source)
        return published


async def _main(rounds: int) -> None:
    batches = stored_logs()
    service = Service()
    calm_collector()
    figures: dict[str, list[float]] = {"floor": [], "service": []}
    for number in range(rounds + 1):
        for name, run in (("floor", floor), ("service", service.run)):
            began_s = time.process_time()
            published = run(batches)
            took_s = time.process_time() - began_s
            assert published == RECORDS * BATCHES * 3 // 10, published
            if number:
                figures[name].append(took_s / (RECORDS * BATCHES) * 1e6)
    floor_us = statistics.median(figures["floor"])
    for name, values in figures.items():
        print(
            f"{name:8} {statistics.median(values):6.3f} us an event "
            f"(min {min(values):.3f}, max {max(values):.3f}), "
            f"{statistics.median(values) / floor_us:.2f}x the floor"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    asyncio.run(_main(parser.parse_args().rounds))

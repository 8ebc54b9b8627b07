"""A handler that waits, with as many calls at once as asked for, by hand on aiokafka.

What a good engineer writes for one topic and one handler: a fixed set of tasks over a deque, so no
task is made for a record.  Records come in chunks, and a chunk's results go out as one batch when
its last call has ended, which spares all bookkeeping of single offsets; the next chunks run
meanwhile.  Positions are committed twice a second, up to the oldest chunk that is not acknowledged.
No order per key, no deadline, no retry, no dead letters.
"""

import asyncio
import contextlib
from collections import defaultdict, deque
from typing import Any

import orjson
import uvloop
from aiokafka import TopicPartition

from benchmarks.jobs.log_events import CALL_S
from benchmarks.peers.aiokafka_tuned import COMMIT_INTERVAL_S, clients
from benchmarks.peers.alerts import Arguments, until_sigterm

CHUNK = 384
"""Most records that are asked for at once; those of a partition are published together."""
AHEAD = 3
"""Records that are under way, at most, for each call that may run."""


async def handle(event: dict[str, Any]) -> dict[str, Any]:
    await asyncio.sleep(CALL_S)
    return {"message": event["message"]}


class Chunk:
    """Some records of one partition, and what has become of them."""

    __slots__ = ("acknowledged", "left", "place", "records", "results")

    def __init__(self, place: TopicPartition, records: list[Any]) -> None:
        self.place = place
        self.records = records
        self.results: list[bytes] = [b""] * len(records)
        self.left = len(records)
        self.acknowledged: asyncio.Future[Any] | None = None


class Calls:
    """Tasks that take the next record, wait for its call, and take the next."""

    def __init__(self, tasks: asyncio.TaskGroup, limit: int) -> None:
        self.under_way = 0
        self.done: deque[Chunk] = deque()
        self.moved = asyncio.Event()
        self._queue: deque[tuple[Chunk, int]] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        for _ in range(limit):
            tasks.create_task(self._work())

    def add(self, chunk: Chunk) -> None:
        self.under_way += chunk.left
        self._queue.extend((chunk, index) for index in range(chunk.left))
        for _ in range(min(len(self._idle), len(self._queue))):
            self._idle.pop().set_result(None)

    def take_done(self) -> Chunk:
        chunk = self.done.popleft()
        self.under_way -= len(chunk.records)
        return chunk

    async def _work(self) -> None:
        queue = self._queue
        while True:
            while queue:
                chunk, index = queue.popleft()
                result = await handle(orjson.loads(chunk.records[index].value))
                chunk.results[index] = orjson.dumps(result)
                chunk.left -= 1
                if not chunk.left:
                    self.done.append(chunk)
                    self.moved.set()
            wake = self._loop.create_future()
            self._idle.append(wake)
            await wake


class Output:
    """Publishes chunks, and knows up to where all of a partition is acknowledged."""

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic
        self._chunks: defaultdict[TopicPartition, deque[Chunk]] = defaultdict(deque)

    def expect(self, chunk: Chunk) -> None:
        self._chunks[chunk.place].append(chunk)

    async def publish(self, chunk: Chunk) -> None:
        builder = self._producer.create_batch()
        for record, result in zip(chunk.records, chunk.results, strict=True):
            if builder.append(key=record.key, value=result, timestamp=None) is None:
                await self._send(builder, chunk.place)
                builder = self._producer.create_batch()
                builder.append(key=record.key, value=result, timestamp=None)
        # The batches of a partition are acknowledged in their order.
        chunk.acknowledged = await self._send(builder, chunk.place)

    async def _send(self, builder: Any, place: TopicPartition) -> Any:
        return await self._producer.send_batch(builder, self._topic, partition=place.partition)

    def positions(self) -> dict[TopicPartition, int]:
        positions = {}
        for place, chunks in self._chunks.items():
            while chunks and (sent := chunks[0].acknowledged) is not None and sent.done():
                sent.result()
                positions[place] = chunks.popleft().records[-1].offset + 1
        return positions


async def serve(args: Arguments, tasks: asyncio.TaskGroup) -> None:
    loop = asyncio.get_running_loop()
    limit = int(args.extra[0])
    consumer, producer = clients(args)
    await producer.start()
    await consumer.start()
    calls, output = Calls(tasks, limit), Output(producer, args.output)
    commit_at_s = loop.time() + COMMIT_INTERVAL_S
    try:
        while True:
            if calls.under_way < AHEAD * limit:
                await fetch(consumer, calls, output)
            else:
                await calls.moved.wait()
            calls.moved.clear()
            while calls.done:
                await output.publish(calls.take_done())
            if loop.time() >= commit_at_s:
                if positions := output.positions():
                    await consumer.commit(positions)
                commit_at_s = loop.time() + COMMIT_INTERVAL_S
    finally:
        await consumer.stop()
        await producer.stop()


async def fetch(consumer: Any, calls: Calls, output: Output) -> None:
    """Take what has come; if nothing has, wait a moment, but not while calls end."""
    fetched = await consumer.getmany(timeout_ms=0 if calls.under_way else 50, max_records=CHUNK)
    for place, records in fetched.items():
        chunk = Chunk(place, records)
        output.expect(chunk)
        calls.add(chunk)
    if not fetched and calls.under_way:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CALL_S):
                await calls.moved.wait()


async def run(args: Arguments) -> None:
    async with asyncio.TaskGroup() as tasks:
        await serve(args, tasks)


if __name__ == "__main__":
    uvloop.run(until_sigterm(run))

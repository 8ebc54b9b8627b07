"""How soon the service goes on when the broker answers again, and how long its end takes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import orjson
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from benchmarks.delivery.setup import Bench, Topics, pipeline
from service.clock import wall_clock_ms
from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess

_POLL_S = 0.02
_AWAY_S = (3.0, 35.0)
_BACKLOG = 2_000
_WATCHED_S = 15.0


class Return(NamedTuple):
    """Seconds from the broker's first answer to the first output of each sort; exit code."""

    any_s: float
    new_s: float
    repeated: int
    missing: int
    exit_code: int


async def recovery(bench: Bench) -> None:
    """Stop, kill and freeze the broker under load, each for a short and a long while."""
    for away_s in _AWAY_S:
        for how in ("stopped", "killed", "frozen"):
            back = await _recovery(bench, how, away_s)
            bench.say(
                f"recovery: broker {how} for {away_s:g} s: first output {back.any_s:.2f} s, "
                f"first output of a record written afterwards {back.new_s:.2f} s after its first "
                f"answer; {back.repeated} repeated, {back.missing} missing, exit {back.exit_code}"
            )


async def _recovery(bench: Bench, how: str, away_s: float) -> Return:
    topics = await bench.topics(4)
    async with _running(bench, topics) as service:
        await _away(bench, how)
        await asyncio.sleep(away_s)
        answered_ms = asyncio.get_running_loop().create_task(_answers(bench.bootstrap))
        await _back(bench, how)
        back_ms = await answered_ms
        async with Kafka(bench.bootstrap) as fresh:
            await fresh.produce(topics.source, _records(_BACKLOG, _BACKLOG + 100))
        await asyncio.sleep(_WATCHED_S)
        exit_code = await service.terminate()
    outputs = await bench.kafka.consume(topics.output)
    numbers = [orjson.loads(record.value or b"")["n"] for record in outputs]
    later = [
        (record.timestamp_ms, number)
        for record, number in zip(outputs, numbers, strict=True)
        if record.timestamp_ms >= back_ms
    ]
    return Return(
        min((at for at, _ in later), default=back_ms + 1e9) / 1000 - back_ms / 1000,
        min((at for at, number in later if number >= _BACKLOG), default=back_ms + 1e9) / 1000
        - back_ms / 1000,
        len(numbers) - len(set(numbers)),
        _BACKLOG + 100 - len(set(numbers)),
        exit_code,
    )


async def shutdown(bench: Bench) -> None:
    """SIGTERM under load while the broker is well, away, and frozen."""
    for how in ("well", "stopped", "frozen"):
        topics = await bench.topics(4)
        async with _running(bench, topics, backlog=60_000) as service:
            if how != "well":
                await _away(bench, how)
                await asyncio.sleep(2.0)
            began_s = time.monotonic()
            exit_code = await service.terminate(90.0)
            took_s = time.monotonic() - began_s
        if how != "well":
            await _back(bench, how)
            await _answers(bench.bootstrap)
        bench.say(f"shutdown: broker {how}: {took_s:.2f} s from SIGTERM to exit {exit_code}")


async def _away(bench: Bench, how: str) -> None:
    match how:
        case "stopped":
            await asyncio.to_thread(bench.server.stop)
        case "killed":
            await asyncio.to_thread(bench.server.kill)
        case _:
            bench.server.pause()


async def _back(bench: Bench, how: str) -> None:
    if how == "frozen":
        bench.server.resume()
    else:
        await asyncio.to_thread(bench.server.start)


@asynccontextmanager
async def _running(
    bench: Bench, topics: Topics, backlog: int = _BACKLOG
) -> AsyncIterator[ServiceProcess]:
    """The service in the middle of a backlog."""
    await bench.kafka.produce(topics.source, _records(0, backlog))
    handler = {"use": "benchmarks.delivery.handlers:call", "concurrency": 64}
    config = pipeline(topics, handler=handler)
    async with ServiceProcess(bench.bootstrap, config, bench.own_directory()) as service:
        async with bench.watching(topics.output) as ends:
            while await ends() < 500:  # noqa: ASYNC110 -- the broker tells of nothing
                await asyncio.sleep(_POLL_S)
        yield service


def _records(start: int, end: int) -> list[tuple[bytes, bytes]]:
    return [(b"key-%d" % (number % 500), b'{"n":%d}' % number) for number in range(start, end)]


async def _answers(bootstrap: str) -> int:
    """Wall clock, in ms, of the broker's first answer to a client that asks again and again."""
    while True:
        consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, request_timeout_ms=1_000)
        try:
            await consumer.start()
        except (KafkaError, OSError):
            await asyncio.sleep(_POLL_S)
        else:
            return wall_clock_ms()
        finally:
            # the client cancels a task of its own while it stops, and lets that out
            with contextlib.suppress(asyncio.CancelledError):
                await consumer.stop()

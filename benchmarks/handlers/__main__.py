"""What the handlers' pages promise: ``python -m benchmarks.handlers [NAME]...``.

The names are ``process``, ``sentences``, ``database`` and ``testing``; without one all of them run.
Whole pipelines on a broker in memory and the real clock: what is measured is the handler with its
dispatch, state and results, and not Kafka.  The events are written before the clock starts.
``database`` starts a PostgreSQL server of its own.
"""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import orjson
import structlog

from benchmarks.handlers.burning import BURN_S
from benchmarks.handlers.testing import told
from service.app.collector import calm_collector
from service.handlers import load_handler
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of
from tests.integration.handlers.postgres import PostgresServer, binaries

ROUNDS: Final = 3
PARTITIONS: Final = 4
LAG_EVERY_S: Final = 0.005
BURNT_EVENTS, BURNT_KEYS = 100, 10
CONVERSATIONS, TOKENS = 1_000, 200
ROWS: Final = 100_000


async def process() -> None:
    """A handler of 200 ms of processor time a call: the loop's lag beside it, and its order."""
    broker = _broker()
    for n in range(BURNT_EVENTS):
        broker.produce("input", orjson.dumps({"n": n}), key=b"key-%d" % (n % BURNT_KEYS))
    config = pipeline_of("benchmarks.handlers.burning:burn", timeout_s=60)
    async with Harness(config, broker=broker) as service:
        while not service.records():  # noqa: ASYNC110 -- nothing tells of it
            await asyncio.sleep(0.1)  # until the workers have started
        lags: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            sampling = tasks.create_task(_sample(lags))
            began_s = time.perf_counter()
            await service.settle()
            took_s = time.perf_counter() - began_s
            sampling.cancel()
        by_key: dict[bytes | None, list[int]] = {}
        for record in service.records():
            by_key.setdefault(record.key, []).append(orjson.loads(record.value or b"")["n"])
    lags.sort()
    kept = all(numbers == sorted(numbers) for numbers in by_key.values())
    print(
        f"{BURNT_EVENTS} calls of {BURN_S * 1000:g} ms in processes, {os.cpu_count()} processors, "
        f"{took_s:.1f} s: loop lag "
        f"p50 {_ms(lags, 0.5):.1f} ms, p99 {_ms(lags, 0.99):.1f} ms, "
        f"max {lags[-1] * 1000:.1f} ms; order of keys {'kept' if kept else 'BROKEN'}"
    )


async def sentences() -> None:
    """Tokens of many conversations at once, interleaved, into whole sentences."""
    broker = _broker()
    words = ("The ", "pipeline ", "has ", "a ", "rule", ". ")
    for index in range(TOKENS):
        for conversation in range(CONVERSATIONS):
            event = {
                "conversation": f"c{conversation}",
                "index": index,
                "delta": words[index % len(words)],
                "done": index == TOKENS - 1,
            }
            broker.produce("input", orjson.dumps(event), key=f"c{conversation}".encode())
    count = CONVERSATIONS * TOKENS
    began_s = time.process_time()
    took_s, sentences = await _timed(broker, pipeline_of("llm_sentences"))
    cpu_s = time.process_time() - began_s
    print(
        f"{count:,} tokens of {CONVERSATIONS:,} conversations in {took_s:.2f} s: "
        f"{count / took_s:,.0f} tokens/s, {count / cpu_s:,.0f} a CPU second, "
        f"{sentences:,} sentences"
    )


async def database() -> None:
    """Batched upserts into PostgreSQL."""
    found = binaries()
    if found is None:
        raise SystemExit("PostgreSQL is not installed (apt-get install postgresql)")
    with tempfile.TemporaryDirectory() as directory:
        postgres = PostgresServer(Path(directory), found)
        postgres.start()
        try:
            await _rows(postgres.url)
        finally:
            postgres.stop()


async def _rows(url: str) -> None:
    broker = _broker()
    for n in range(ROWS):
        event = {"id": f"e{n}", "n": n, "text": "x" * 50}
        broker.produce("input", orjson.dumps(event), key=b"e%d" % n)
    columns = {"n": {"field": "n", "type": "integer"}, "text": {"field": "text"}}
    options = {"url": url, "table": "events", "id_field": "id", "columns": columns}
    took_s, _ = await _timed(broker, pipeline_of("database", options=options, output=None))
    print(f"{ROWS:,} rows into PostgreSQL in {took_s:.2f} s: {ROWS / took_s:,.0f} rows/s")


async def testing() -> None:
    """What a handler's test costs whoever writes it."""
    print(await asyncio.to_thread(told))


def _broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("input", PARTITIONS)
    return broker


async def _timed(broker: MemoryBroker, config: Mapping[str, Any]) -> tuple[float, int]:
    """Seconds until everything is committed, start included, and how many results there are."""
    calm_collector()  # as `headrace run` does
    began_s = time.perf_counter()
    async with Harness(config, broker=broker, partitions=PARTITIONS) as service:
        await service.settle()
        took_s = time.perf_counter() - began_s
        output = config["pipelines"]["test"]["handlers"]["handler"]["output"]
        return took_s, len(service.records()) if output else 0


async def _sample(lags: list[float]) -> None:
    """How much later than asked for the loop comes round."""
    loop = asyncio.get_running_loop()
    while True:
        due_s = loop.time() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        lags.append(loop.time() - due_s)


def _ms(ordered: list[float], share: float) -> float:
    return ordered[int(share * (len(ordered) - 1))] * 1000


BENCHMARKS: Mapping[str, Callable[[], Coroutine[Any, Any, None]]] = {
    "process": process,
    "sentences": sentences,
    "database": database,
    "testing": testing,
}


def main(names: list[str]) -> None:
    """Run the benchmarks called ``names``; all of them if there are none."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    for handler in ("llm_sentences", "database"):
        load_handler(handler)  # importing is not what is measured
    for name in names or BENCHMARKS:
        for _ in range(ROUNDS):
            asyncio.run(BENCHMARKS[name]())


if __name__ == "__main__":
    main(sys.argv[1:])

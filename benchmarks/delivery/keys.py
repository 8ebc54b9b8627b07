"""What concurrency over the keys of one partition gives, and what poison keys cost the others."""

import asyncio
import time
from collections import defaultdict
from itertools import pairwise
from typing import NamedTuple

import orjson

from benchmarks.delivery.handlers import CALL_S
from benchmarks.delivery.setup import Bench, Topics, pipeline
from tests.service_process import ServiceProcess

KEYS = 1_000
CONCURRENCY = 64
_POISON_EVERY = 100
_LIMIT_S = 180.0
_POLL_S = 0.02


class Run(NamedTuple):
    """One measured run: events a second of the good ones, and order violations."""

    rate: float
    violations: int
    outputs: int


async def concurrency(bench: Bench, count: int) -> None:
    """Concurrency 64 against one call at a time, on the same records."""
    sequential = await _measure(bench, count // 40, concurrency=1, poison=False)
    concurrent = await _measure(bench, count, concurrency=CONCURRENCY, poison=False)
    bench.say(
        f"keys: one at a time {sequential.rate:.2f}/s (a bare loop of {CALL_S * 1000:g} ms calls "
        f"would do {1 / CALL_S:g}/s), {CONCURRENCY} at a time {concurrent.rate:.0f}/s: "
        f"{concurrent.rate / sequential.rate:.1f}x, of {CALL_S**-1 * CONCURRENCY:.0f}/s possible; "
        f"{concurrent.outputs} outputs, {concurrent.violations} order violations"
    )


async def poison(bench: Bench, count: int, rounds: int, use: str) -> None:
    """With 1 % of the keys poisoned and without, in turn."""
    clean, spoiled = [], []
    for _ in range(rounds):
        clean.append(await _measure(bench, count, poison=False, use=use))
        spoiled.append(await _measure(bench, count, poison=True, use=use))
    best = [sum(run.rate for run in runs) / rounds for runs in (clean, spoiled)]
    rates = [[round(run.rate) for run in runs] for runs in (clean, spoiled)]
    bench.say(
        f"poison ({use}): others without {best[0]:.0f}/s {rates[0]}, with 1 % poison keys "
        f"{best[1]:.0f}/s {rates[1]}: cost {100 * (1 - best[1] / best[0]):.1f} %; "
        f"{sum(run.violations for run in clean + spoiled)} order violations"
    )


async def _measure(
    bench: Bench, count: int, *, poison: bool, concurrency: int = CONCURRENCY, use: str = "call"
) -> Run:
    topics = await bench.topics(1)
    spoiled = {b"key-%d" % key for key in range(0, KEYS, _POISON_EVERY)} if poison else set()
    records = []
    for number in range(count):
        key = b"key-%d" % (number * 7_919 % KEYS)
        records.append((key, orjson.dumps({"n": number, "poison": key in spoiled})))
    await bench.kafka.produce(topics.source, records)
    good = sum(key not in spoiled for key, _ in records)
    config = pipeline(
        topics,
        handler={
            "use": f"benchmarks.delivery.handlers:{use}",
            "concurrency": concurrency,
            "ordering": "key",
        },
    )
    async with ServiceProcess(bench.bootstrap, config, bench.own_directory()) as service:
        rate = await _rate(bench, topics, good)
        await service.terminate()
    return await _checked(bench, topics, rate)


async def _rate(bench: Bench, topics: Topics, good: int) -> float:
    """Outputs a second between a tenth and nine tenths of them."""
    low, high = good // 10, good * 9 // 10
    began: tuple[float, int] | None = None
    async with asyncio.timeout(_LIMIT_S), bench.watching(topics.output) as ends:
        while True:
            done, now_s = await ends(), time.monotonic()
            if began is None and done >= low:
                began = now_s, done
            if began is not None and done >= high:
                return (done - began[1]) / (now_s - began[0])
            await asyncio.sleep(_POLL_S)


async def _checked(bench: Bench, topics: Topics, rate: float) -> Run:
    """Order violations per key; a key's events were numbered in order."""
    sequences: dict[bytes | None, list[int]] = defaultdict(list)
    outputs = await bench.kafka.consume(topics.output, timeout_s=60)
    for record in outputs:
        sequences[record.key].append(orjson.loads(record.value or b"")["n"])
    violations = sum(
        later <= earlier for sequence in sequences.values() for earlier, later in pairwise(sequence)
    )
    return Run(rate, violations, len(outputs))

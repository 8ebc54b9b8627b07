"""What streams cost beside lists, timers, tasks, anyio and aiostream.

Run it as ``python benchmarks/library/streams.py``; ``requirements.txt`` beside it says how to
have anyio and aiostream for comparison.  Each round runs every variant of a job once, in random
order; the figures are medians over the rounds and ratios of medians, so that a busy machine
shifts all of them alike.  A target that is missed ends the program with status 1.
"""

import argparse
import asyncio
import gc
import importlib
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from service import streams
from service.channels import channel
from service.streams import ReceiverStream

LIMIT = 1000
KEYS = 4096
DELAY_S = 0.01
Variant = Callable[[int], Awaitable[object]]


def optional(name: str) -> Any:
    """Import a library that is compared with, if it is installed."""
    return importlib.import_module(name) if importlib.util.find_spec(name) else None


aiostream = optional("aiostream")
anyio = optional("anyio")


def increment(number: int) -> int:
    return number + 1


def is_odd(number: int) -> bool:
    return number % 2 == 1


def double(number: int) -> int:
    return number * 2


async def ready(number: int) -> int:
    return number


async def waiting(number: int) -> int:
    await asyncio.sleep(DELAY_S)
    return number


def calls(handler: Callable[[int], Awaitable[int]], count: int) -> streams.Stream[Any]:
    return streams.iter(range(count)).map(lambda number: partial(handler, number))


def lane(call: partial[Awaitable[int]]) -> int:
    number: int = call.args[0]
    return number % KEYS


# --- map, filter, map ---------------------------------------------------------------------


async def list_passes(count: int) -> None:
    numbers, kept = range(count), 0
    for start in range(0, count, 256):
        first = [increment(number) for number in numbers[start : start + 256]]
        odd = [number for number in first if is_odd(number)]
        kept += len([double(number) for number in odd])
    assert kept == count // 2


async def ours_sync(count: int) -> None:
    kept = await streams.iter(range(count)).map(increment).filter(is_odd).map(double).count()
    assert kept == count // 2


async def aiostream_sync(count: int) -> None:
    stream, pipe = aiostream.stream, aiostream.pipe
    numbers = stream.iterate(range(count)) | pipe.map(increment) | pipe.filter(is_odd)
    kept = 0
    async with (numbers | pipe.map(double)).stream() as items:
        async for _ in items:
            kept += 1
    assert kept == count // 2


# --- calls, at most LIMIT at once ---------------------------------------------------------


async def bare_timers(count: int) -> None:
    async def worker(share: int) -> None:
        for number in range(share):
            await waiting(number)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(LIMIT):
            tasks.create_task(worker(count // LIMIT))


async def ours_calls(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    assert await calls(handler, count).buffer_unordered(LIMIT).count() == count


async def ours_lanes(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    results = calls(handler, count).buffer_unordered(LIMIT, ordered_by=lane)
    assert await results.count() == count


async def semaphore_calls(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    """A task per item, made when the semaphore lets it, so that memory is bounded too."""
    semaphore = asyncio.Semaphore(LIMIT)
    results: list[int] = []

    async def run(number: int) -> None:
        try:
            results.append(await handler(number))
        finally:
            semaphore.release()

    async with asyncio.TaskGroup() as tasks:
        for number in range(count):
            await semaphore.acquire()
            tasks.create_task(run(number))
    assert len(results) == count


async def many_tasks(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    """The usual form: all tasks at once, each behind ``async with semaphore``."""
    semaphore = asyncio.Semaphore(LIMIT)

    async def run(number: int) -> int:
        async with semaphore:
            return await handler(number)

    results = await asyncio.gather(*(run(number) for number in range(count)))
    assert len(results) == count


async def anyio_calls(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    limiter = anyio.CapacityLimiter(LIMIT)
    results: list[int] = []

    async def run(number: int) -> None:
        async with limiter:
            results.append(await handler(number))

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(run, number)
    assert len(results) == count


async def aiostream_calls(handler: Callable[[int], Awaitable[int]], count: int) -> None:
    stream, pipe = aiostream.stream, aiostream.pipe
    results = stream.iterate(range(count)) | pipe.map(handler, ordered=False, task_limit=LIMIT)
    done = 0
    async with results.stream() as items:
        async for _ in items:
            done += 1
    assert done == count


# --- a whole pipeline: channel, map, filter, handler, result ------------------------------


async def ours_pipeline(count: int) -> None:
    sender, receiver = channel[int](LIMIT)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(streams.iter(range(count)).forward(sender))
        done = await (
            ReceiverStream(receiver)
            .map(increment)
            .filter(is_odd)
            .map(lambda number: partial(ready, number))
            .buffer_unordered(LIMIT)
            .count()
        )
    assert done == count // 2


async def anyio_pipeline(count: int) -> None:
    send, receive = anyio.create_memory_object_stream[int](LIMIT)
    limiter = anyio.CapacityLimiter(LIMIT)
    results: list[int] = []

    async def produce() -> None:
        async with send:
            for number in range(count):
                await send.send(number)

    async def run(number: int) -> None:
        async with limiter:
            results.append(await ready(number))

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(produce)
        async for number in receive:
            incremented = increment(number)
            if is_odd(incremented):
                tasks.start_soon(run, incremented)
    assert len(results) == count // 2


async def aiostream_pipeline(count: int) -> None:
    stream, pipe = aiostream.stream, aiostream.pipe
    queue: asyncio.Queue[int | None] = asyncio.Queue(LIMIT)

    async def produce() -> None:
        for number in range(count):
            await queue.put(number)
        await queue.put(None)

    async def consume() -> AsyncIterator[int]:
        while (number := await queue.get()) is not None:
            yield number

    numbers = stream.iterate(consume()) | pipe.map(increment) | pipe.filter(is_odd)
    done = 0
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        results = numbers | pipe.map(ready, ordered=False, task_limit=LIMIT)
        async with results.stream() as items:
            async for _ in items:
                done += 1
    assert done == count // 2


# --- measuring ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """``fast`` must have at least ``factor`` times the rate of ``slow``."""

    fast: str
    slow: str
    factor: float


@dataclass(frozen=True)
class Job:
    title: str
    count: int
    variants: dict[str, Variant]
    targets: tuple[Target, ...]
    medians_s: dict[str, float] = field(default_factory=dict)

    def run(self, rounds: int, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        names = [name for name in self.variants if available(name)]
        times: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for name in random.sample(names, len(names)):
                count = self.share(name)
                gc.collect()
                with asyncio.Runner(loop_factory=loop) as runner:
                    started_s = time.perf_counter()
                    runner.run(counted(self.variants[name], count))
                    times[name].append((time.perf_counter() - started_s) / count)
        self.medians_s.update({name: statistics.median(seconds) for name, seconds in times.items()})

    def share(self, name: str) -> int:
        """Slow libraries get fewer items; all figures are per item."""
        return max(LIMIT * 2, self.count // 10) if name == "aiostream" else self.count

    def report(self) -> bool:
        print(f"\n{self.title} ({self.count:,} items)")
        for name in self.variants:
            if name in self.medians_s:
                seconds = self.medians_s[name]
                print(f"  {name:26} {seconds * 1e9:9,.0f} ns an item {1 / seconds:13,.0f}/s")
            else:
                print(f"  {name:26} left out: {name} is not installed (see requirements.txt)")
        verdicts = [self.check(target) for target in self.targets]
        return all(verdicts)

    def check(self, target: Target) -> bool:
        if not {target.fast, target.slow} <= self.medians_s.keys():
            return True
        ratio = self.medians_s[target.slow] / self.medians_s[target.fast]
        verdict = "ok" if ratio >= target.factor else "MISSED"
        print(
            f"  {target.fast} / {target.slow}: {ratio:.2f} (at least {target.factor:.2f}) {verdict}"
        )
        return ratio >= target.factor


async def counted(variant: Variant, count: int) -> None:
    await variant(count)


def available(name: str) -> bool:
    return {"anyio": anyio, "aiostream": aiostream}.get(name, True) is not None


def jobs(scale: float) -> Iterable[Job]:
    count = int(100 * scale) * LIMIT
    yield Job(
        "map + filter + map",
        count,
        {"lists": list_passes, "ours": ours_sync, "aiostream": aiostream_sync},
        (Target("ours", "lists", 1 / 1.5), Target("ours", "aiostream", 10)),
    )
    yield Job(
        f"a handler that waits {DELAY_S * 1e3:g} ms, {LIMIT} at once",
        count // 2,
        {
            "bare timers": bare_timers,
            "ours": partial(ours_calls, waiting),
            "ours, ordered_by": partial(ours_lanes, waiting),
            "semaphore, bounded tasks": partial(semaphore_calls, waiting),
            "semaphore, task per item": partial(many_tasks, waiting),
            "anyio": partial(anyio_calls, waiting),
            "aiostream": partial(aiostream_calls, waiting),
        },
        (
            Target("ours", "bare timers", 0.95),
            Target("ours", "anyio", 3),
            Target("ours", "aiostream", 10),
        ),
    )
    yield Job(
        f"a handler that does not wait, {LIMIT} at once",
        count,
        {
            "ours": partial(ours_calls, ready),
            "ours, ordered_by": partial(ours_lanes, ready),
            "semaphore, bounded tasks": partial(semaphore_calls, ready),
            "semaphore, task per item": partial(many_tasks, ready),
            "anyio": partial(anyio_calls, ready),
            "aiostream": partial(aiostream_calls, ready),
        },
        (
            Target("ours", "semaphore, task per item", 10),
            Target("ours, ordered_by", "semaphore, task per item", 3.5),
            Target("ours", "anyio", 3),
            Target("ours", "aiostream", 10),
        ),
    )
    yield Job(
        "a pipeline: channel, map, filter, handler that does not wait",
        count,
        {"ours": ours_pipeline, "anyio": anyio_pipeline, "aiostream": aiostream_pipeline},
        (Target("ours", "anyio", 3), Target("ours", "aiostream", 10)),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--scale", type=float, default=1.0, help="items, as a share of 100,000")
    parser.add_argument("--only", default="", help="run the jobs with this in their title")
    parser.add_argument("--uvloop", action="store_true", help="run on uvloop's event loop")
    options = parser.parse_args()
    loop: Any = asyncio.SelectorEventLoop
    if options.uvloop:
        loop = optional("uvloop").new_event_loop
    met = True
    for job in jobs(options.scale):
        if options.only not in job.title:
            continue
        job.run(options.rounds, loop)
        met = job.report() and met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

"""What a channel costs per item beside ``asyncio.Queue``, and beside anyio if it is installed.

Run it as ``python benchmarks/library/channels.py``.  Each round runs every contender once, in
random order; the figures are medians over rounds of CPU time per item (nothing here waits for
anything but the CPU), so a busy machine disturbs them little and all of them alike.  With
``--check`` it ends with 1 if a ratio is below what the library promises.
"""

import argparse
import asyncio
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

from service.channels import channel

CHUNK = 256
PROMISED = {"one at a time": 2.0, "chunks of 256": 20.0}

Contender = Callable[[int, int], Coroutine[Any, Any, None]]


async def queue(capacity: int, count: int) -> None:
    items: asyncio.Queue[int] = asyncio.Queue(capacity)

    async def produce() -> None:
        for number in range(count):
            await items.put(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce())
        for _ in range(count):
            await items.get()


async def send_and_recv(capacity: int, count: int) -> None:
    tx, rx = channel[int](capacity)

    async def produce() -> None:
        for number in range(count):
            await tx.send(number)

    with tx, rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            for _ in range(count):
                await rx.recv()


async def send_and_iterate(capacity: int, count: int) -> None:
    tx, rx = channel[int](capacity)

    async def produce() -> None:
        with tx:
            for number in range(count):
                await tx.send(number)

    with rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            async for _ in rx:
                pass


async def send_many_and_recv_many(capacity: int, count: int) -> None:
    tx, rx = channel[int](capacity)
    chunk = list(range(CHUNK))

    async def produce() -> None:
        with tx:
            for _ in range(0, count, CHUNK):
                await tx.send_many(chunk)

    with rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            while await rx.recv_many([], CHUNK):
                pass


async def weighed_batches(capacity: int, count: int) -> None:
    tx, rx = channel[list[int]](capacity, items_of=len)
    chunk = list(range(CHUNK))

    async def produce() -> None:
        with tx:
            for _ in range(0, count, CHUNK):
                await tx.send(chunk)

    with rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            async for _ in rx:
                pass


async def anyio_stream(capacity: int, count: int) -> None:
    import anyio  # type: ignore[import-not-found]  # noqa: PLC0415 -- need not be installed

    tx, rx = anyio.create_memory_object_stream(capacity)

    async def produce() -> None:
        with tx:
            for number in range(count):
                await tx.send(number)

    with rx:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(produce())
            async for _ in rx:
                pass


def contenders() -> dict[str, tuple[str, Contender]]:
    """Name: (what it is compared as, how it runs)."""
    every: dict[str, tuple[str, Contender]] = {
        "asyncio.Queue": ("", queue),
        "send, recv": ("one at a time", send_and_recv),
        "send, async for": ("one at a time", send_and_iterate),
        "send_many, recv_many": ("chunks of 256", send_many_and_recv_many),
        "batches weighed by items_of": ("", weighed_batches),
    }
    if importlib.util.find_spec("anyio"):
        every["anyio memory stream"] = ("", anyio_stream)
    return every


def measure(capacity: int, count: int, rounds: int, *, uvloop: bool) -> dict[str, float]:
    """Median nanoseconds of CPU per item."""
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.SelectorEventLoop
    if uvloop:
        import uvloop as uvloop_module  # noqa: PLC0415 -- an extra

        loop_factory = uvloop_module.new_event_loop
    every = contenders()
    times_s: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(rounds):
        for name in random.sample(list(every), len(every)):
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                start_s = time.process_time()
                runner.run(every[name][1](capacity, count))
                times_s[name].append(time.process_time() - start_s)
    return {name: statistics.median(each) / count * 1e9 for name, each in times_s.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--count", type=int, default=512 * CHUNK, help="items per run")
    parser.add_argument("--capacities", type=int, nargs="+", default=[16, 256, 1024, 10_000])
    parser.add_argument("--uvloop", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail below the promised ratios")
    args = parser.parse_args()
    missed = []
    for capacity in args.capacities:
        medians_ns = measure(capacity, args.count, args.rounds, uvloop=args.uvloop)
        print(f"capacity {capacity}, {args.count} items, median of {args.rounds} rounds")
        for name, median_ns in medians_ns.items():
            ratio = medians_ns["asyncio.Queue"] / median_ns
            kind = contenders()[name][0]
            print(f"  {name:<28} {median_ns:8.1f} ns/item   {ratio:6.2f} x asyncio.Queue")
            # below a thousand slots it is the switching of tasks that is measured
            if capacity >= 1024 and ratio < PROMISED.get(kind, 0.0):
                missed.append(f"{name} at capacity {capacity}: {ratio:.2f} < {PROMISED[kind]}")
    for line in missed:
        print("below the promise:", line)
    return 1 if args.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())

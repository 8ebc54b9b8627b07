"""How many 10 ms waits a loop can do with 1,000 at once: the ceiling of the I/O job."""

import asyncio
import os
import sys
import time

import orjson
import uvloop

from benchmarks.harness.meter import usage_of
from benchmarks.jobs.log_events import CALL_S

SECONDS = 3.0


async def run(concurrency: int) -> dict[str, float]:
    done = 0
    loop = asyncio.get_running_loop()
    end_s = loop.time() + SECONDS

    async def wait_again_and_again() -> None:
        nonlocal done
        while loop.time() < end_s:
            await asyncio.sleep(CALL_S)
            done += 1

    began_s, cpu_s = time.perf_counter(), time.process_time()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(wait_again_and_again())
    elapsed_s, cpu_s = time.perf_counter() - began_s, time.process_time() - cpu_s
    return {
        "events_per_s": done / elapsed_s,
        "cpu_s_per_million": cpu_s / done * 1e6,
        "peak_rss_mb": usage_of(os.getpid()).peak_rss_mb,
    }


def main() -> None:
    concurrency, loop = sys.argv[-2:]
    runner = uvloop.run if loop == "uvloop" else asyncio.run
    print(orjson.dumps(runner(run(int(concurrency)))).decode())


if __name__ == "__main__":
    main()

"""The program that is counted: it prepares once, then forks a child for every amount of work.

A child inherits the count of its parent, so the difference between a child with twice the work
and one with the work is the work alone: interpreter start-up, imports and warming up cancel out.
Prints a line for each child: what it did, with how many events, and its process id.

Needs nothing of Valgrind; run by hand it shows whether the work works.
"""

import asyncio
import os
from collections.abc import Callable

from benchmarks.library.floor import RECORDS, Service, floor, stored_logs
from service.app.collector import calm_collector

BATCHES = 25
_KEPT = RECORDS * 3 // 10


def main() -> None:
    batches = stored_logs()[:BATCHES]
    service = Service()
    works: dict[str, Callable[[list[bytes]], int]] = {"floor": floor, "service": service.run}
    for work in works.values():
        # Python specializes code that has run, and caches what it has seen.
        assert asyncio.run(_done(work, batches)) == _KEPT * BATCHES
    calm_collector()
    for name, work in works.items():
        for times in (1, 2):
            child = _in_a_child(work, batches * times)
            print(name, BATCHES * RECORDS * times, child, flush=True)


async def _done(work: Callable[[list[bytes]], int], batches: list[bytes]) -> int:
    # The service asks for the running event loop's time, which a child does not inherit.
    return work(batches)


def _in_a_child(work: Callable[[list[bytes]], int], batches: list[bytes]) -> int:
    child = os.fork()
    if not child:
        right = asyncio.run(_done(work, batches)) == _KEPT * len(batches)
        os._exit(0 if right else 1)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("the work went wrong")
    return child


if __name__ == "__main__":
    main()

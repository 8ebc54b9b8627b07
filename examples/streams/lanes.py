"""Many calls at once, one at a time per key, retries included.

Runs in virtual time, so the times are exact and the example ends at once.

Prints::

    1.0 s: a1 failed, again in 5 s
    1.0 s: b1 done
    2.0 s: b2 done
    7.0 s: a1 done
    8.0 s: a2 done
"""

import asyncio
from functools import partial

from service import streams
from service.streams import Later
from service.testing import virtual_time


async def handle(name: str, attempt: int = 1) -> str | Later[str]:
    """Take a second; ``a1`` fails once and asks to be tried again."""
    await asyncio.sleep(1)
    now_s = asyncio.get_running_loop().time()
    if name == "a1" and attempt == 1:
        print(f"{now_s} s: {name} failed, again in 5 s")
        return Later(5, partial(handle, name, attempt + 1))  # parks its lane, frees its slot
    return name


class Job:
    """One call of ``handle``, which knows its lane."""

    def __init__(self, name: str) -> None:
        self.lane = name[0]
        self._name = name

    async def __call__(self) -> str | Later[str]:
        """Start the first attempt."""
        return await handle(self._name)


async def main() -> None:
    """Handle four names in two lanes."""
    jobs = streams.iter(["a1", "a2", "b1", "b2"]).map(Job)
    async with jobs.buffer_unordered(10, ordered_by=lambda job: job.lane) as results:
        async for name in results:
            print(f"{asyncio.get_running_loop().time()} s: {name} done")


if __name__ == "__main__":
    virtual_time.run(main())

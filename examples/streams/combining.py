"""Several streams in one, batches by size or time, and an end from outside.

Runs in virtual time, so the times are exact and the example ends at once.

Prints::

    2.0 s: ['a', 'b', 'a']
    4.0 s: ['a', 'b', 'a']
    5.25 s: ['a', 'b']
"""

import asyncio
from collections.abc import AsyncIterator

from service import streams
from service.streams import StreamMap
from service.testing import virtual_time


@streams.stream
async def every(period_s: float) -> AsyncIterator[None]:
    """Yield after every ``period_s``, for ever."""
    while True:
        await asyncio.sleep(period_s)
        yield


async def main() -> None:
    """Collect the ticks of two sources in batches."""
    sources = StreamMap[str, None]()  # streams can come and go while it is read
    sources.insert("a", every(1))
    sources.insert("b", every(1.7))
    batches = (
        sources.map(lambda pair: pair[0])
        .take_until(asyncio.sleep(5.25))
        .chunks_timeout(3, 2)  # three items, or what came within two seconds of the first
    )
    async for batch in batches:
        print(f"{asyncio.get_running_loop().time()} s: {batch}")


if __name__ == "__main__":
    virtual_time.run(main())

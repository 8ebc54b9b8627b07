"""What durable state costs on a real broker, and what it leaves behind.

    python -m benchmarks.state [restore|disk|sessions|quiet]... [--count N]

`restore` reads a changelog of N records back, fetch included, beside the fetch alone; `disk` does
it into RocksDB and says how large the process became; `sessions` sends N keys that are used once
and looks at what is left of them; `quiet` waits for windows that only the wall clock can close.
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from benchmarks.harness.cluster import Cluster, connect
from benchmarks.state import disk, quiet, restore, sessions
from tests.kafka.server import KafkaServer

Measure = Callable[[Cluster, int, Path], Awaitable[None]]

_MEASURES: dict[str, Measure] = {
    "restore": restore.run,
    "disk": disk.run,
    "sessions": sessions.run,
    "quiet": quiet.run,
}


async def _main(names: list[str], count: int) -> None:
    with KafkaServer(heap_mb=1024) as server, tempfile.TemporaryDirectory() as directory:
        for name in names:
            async with connect(server.bootstrap) as cluster:
                await _MEASURES[name](cluster, count, Path(directory))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(_MEASURES))
    parser.add_argument("--count", type=int, default=1_000_000)
    arguments = parser.parse_args()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    asyncio.run(_main(arguments.names or list(_MEASURES), arguments.count))

"""The figures of delivery, on this machine.

    python -m benchmarks.delivery [SCENARIO ...]

Scenarios: ``memory`` (64 hot partitions, a handler that never ends), ``keys`` (concurrency over
the keys of one partition), ``poison`` (what 1 % poison keys cost the others), ``recovery`` (a
broker that goes and comes back), ``shutdown`` (SIGTERM with a broker that is well, away, frozen).
All by default.  An Apache Kafka of their own is started; nothing is pinned or set aside.
"""

import argparse
import asyncio
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from benchmarks.delivery import faults, keys, memory
from benchmarks.delivery.setup import Bench
from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer

_SCENARIOS: Mapping[str, Callable[[Bench], Awaitable[None]]] = {
    "memory": lambda bench: memory.run(bench, seconds=20.0),
    "keys": lambda bench: keys.concurrency(bench, count=16_000),
    "poison": lambda bench: keys.poison(bench, count=12_000, rounds=4, use="call"),
    "retries": lambda bench: keys.poison(bench, count=12_000, rounds=4, use="failing"),
    "recovery": faults.recovery,
    "shutdown": faults.shutdown,
}


def main() -> None:
    # What its clients have to say about a broker that was stopped on purpose is expected.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.delivery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", choices=[*_SCENARIOS, []], metavar="SCENARIO")
    asyncio.run(_run(parser.parse_args().scenarios or list(_SCENARIOS)))


async def _run(scenarios: list[str]) -> None:
    with KafkaServer() as server, tempfile.TemporaryDirectory() as directory:
        for scenario in scenarios:
            async with Kafka(server.bootstrap) as kafka:
                bench = Bench(server=server, kafka=kafka, directory=Path(directory))
                await _SCENARIOS[scenario](bench)


if __name__ == "__main__":
    main()

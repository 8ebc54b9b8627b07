"""The figures of the WebSocket edge, on this machine.

    python -m benchmarks.edge [--seconds 20] [--subscribers 1000] [--rate 200] [SCENARIO ...]

Scenarios, all by default: ``fanout`` (subscribers at a steady rate), ``stalled`` (50 of them read
nothing), ``plain`` (the same against a plain ``websockets`` broadcast server), ``idle`` (memory of
2,000 connections), ``ingest`` (acknowledged events through the pipeline), ``pipeline`` (its own
throughput with subscribers and without), ``shutdown`` (everybody told 1012), ``resume`` (all leave
for ten seconds and come back together), ``resume_fast`` (the same at ten times the rate, each with
one of twenty filters).

The server is ``headrace run`` itself.  A real Apache Kafka is started, or ``HEADRACE_TEST_KAFKA``
names another.  Service, broker and load share the machine: nothing is pinned or set aside.
"""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import uvloop
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from benchmarks.edge.clients import raise_file_limit
from benchmarks.edge.fanout import fanout
from benchmarks.edge.others import idle, ingest, pipeline, shutdown
from benchmarks.edge.resuming import resume
from tests.kafka.server import KafkaServer

STALLED = 50
FASTER = 10
SCENARIOS = (
    "fanout", "stalled", "plain", "idle", "ingest", "pipeline", "shutdown", "resume", "resume_fast",
)  # fmt: skip


async def scenario(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one on topics of its own."""
    topic = f"edge-{uuid.uuid4().hex[:8]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=options.bootstrap)
    await admin.start()
    names = (topic, f"{topic}.dead", f"{topic}.out", f"{topic}.out.dead")
    await admin.create_topics([NewTopic(each, 4, 1) for each in names])
    await admin.close()
    bootstrap, seconds, subscribers = options.bootstrap, options.seconds, options.subscribers
    steady = {"subscribers": subscribers, "rate": options.rate, "seconds": seconds}
    runs: dict[str, Callable[[], Awaitable[dict[str, Any]]]] = {
        "fanout": partial(fanout, "headrace", bootstrap, topic, **steady),
        "stalled": partial(fanout, "headrace", bootstrap, topic, **steady, stalled=STALLED),
        "plain": partial(fanout, "plain", bootstrap, topic, **steady),
        "idle": partial(idle, bootstrap, topic),
        "ingest": partial(ingest, bootstrap, topic, seconds=seconds),
        "pipeline": partial(pipeline, bootstrap, topic, **{**steady, "seconds": min(seconds, 8)}),
        "shutdown": partial(shutdown, bootstrap, topic, subscribers=subscribers),
        "resume": partial(
            resume, bootstrap, topic, subscribers=subscribers, rate=options.rate, filtered=False
        ),
        "resume_fast": partial(
            resume,
            bootstrap,
            topic,
            subscribers=subscribers,
            rate=options.rate * FASTER,
            filtered=True,
        ),
    }
    return await runs[name]()


def show(title: str, figures: dict[str, Any]) -> None:
    """Print one scenario's figures."""
    print(f"\n{title}")
    for name, value in figures.items():
        print(f"  {name:32} {value}", flush=True)


def main() -> None:
    """Run the scenarios that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.edge", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", default=SCENARIOS)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--rate", type=int, default=200)
    options = parser.parse_args()
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    raise_file_limit()
    logging.getLogger("aiokafka").setLevel(logging.ERROR)
    gc.disable()  # the load keeps every receipt; looking through them would hold its loop up
    with contextlib.ExitStack() as stack:
        options.bootstrap = os.environ.get("HEADRACE_TEST_KAFKA") or (
            stack.enter_context(KafkaServer(heap_mb=512)).bootstrap
        )
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} before the start")
        steady = f"{options.subscribers} subscribers, {options.rate} events/s"
        for name in options.scenarios:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                show(f"{name} ({steady})", runner.run(scenario(name, options)))


if __name__ == "__main__":
    main()

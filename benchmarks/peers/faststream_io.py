"""FastStream with many workers for a handler that waits: ``max_workers``, as documented for I/O."""

import asyncio

import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

from benchmarks.jobs.log_events import CALL_S
from benchmarks.peers.alerts import arguments

args = arguments()
broker = KafkaBroker(
    args.bootstrap, acks="all", enable_idempotence=True, apply_types=False, logger=None
)


@broker.subscriber(
    args.source,
    group_id=args.group,
    auto_offset_reset="earliest",
    auto_commit_interval_ms=500,
    max_workers=int(args.extra[0]),
)
async def handle(event: dict[str, object]) -> None:
    await asyncio.sleep(CALL_S)
    await broker.publish({"message": event["message"]}, topic=args.output, no_confirm=True)


if __name__ == "__main__":
    uvloop.run(FastStream(broker, logger=None).run())

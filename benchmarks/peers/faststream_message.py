"""FastStream as its tutorial shows it: one event in, one result published, automatic commits.

Fast settings: no validation layer, and no waiting for each acknowledgement.  With automatic
commits (its default) an event counts as done when it is delivered, so this is at most once.
"""

import uvloop
from faststream import FastStream
from faststream.kafka import KafkaBroker

from benchmarks.peers.alerts import alert_of, arguments

args = arguments()
broker = KafkaBroker(
    args.bootstrap, acks="all", enable_idempotence=True, apply_types=False, logger=None
)


@broker.subscriber(
    args.source,
    group_id=args.group,
    auto_offset_reset="earliest",
    auto_commit_interval_ms=500,
)
async def handle(event: dict[str, object]) -> None:
    alert = alert_of(event)
    if alert is not None:
        await broker.publish(alert, topic=args.output, no_confirm=True)


if __name__ == "__main__":
    uvloop.run(FastStream(broker, logger=None).run())

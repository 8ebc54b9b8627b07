"""FastStream with batches: a list of parsed events in, one ``publish_batch`` out, then the ack.

``apply_types=False`` leaves out the validation layer, as its documentation says for speed.
"""

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker

from benchmarks.peers.alerts import alert_of, arguments

args = arguments()
broker = KafkaBroker(
    args.bootstrap,
    acks="all",
    enable_idempotence=True,
    max_batch_size=1_000_000,  # publish_batch makes one batch of what it gets, or fails
    apply_types=False,
    logger=None,
)


@broker.subscriber(
    args.source,
    batch=True,
    group_id=args.group,
    auto_offset_reset="earliest",
    max_records=2000,
    batch_timeout_ms=50,
    ack_policy=AckPolicy.NACK_ON_ERROR,
)
async def handle(events: list[dict[str, object]]) -> None:
    alerts = [alert for event in events if (alert := alert_of(event)) is not None]
    if alerts:
        await broker.publish_batch(*alerts, topic=args.output)


if __name__ == "__main__":
    uvloop.run(FastStream(broker, logger=None).run())

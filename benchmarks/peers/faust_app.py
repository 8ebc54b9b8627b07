"""Faust: an agent over a stream, results sent without waiting for each acknowledgement."""

import sys
from tempfile import TemporaryDirectory

import faust

from benchmarks.peers.alerts import alert_of, arguments

args = arguments()
kept = TemporaryDirectory()  # Faust makes a directory where it is started, whatever its store
app = faust.App(
    args.group,
    broker=f"kafka://{args.bootstrap}",
    store="memory://",
    datadir=kept.name,
    web_enabled=False,
    value_serializer="json",
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=0.5,
    producer_acks=-1,
    topic_disable_leader=True,
    stream_wait_empty=False,
)
source = app.topic(args.source)
output = app.topic(args.output)


@app.agent(source)
async def handle(events: faust.StreamT[dict[str, object]]) -> None:
    async for event in events:
        alert = alert_of(event)
        if alert is not None:
            await output.send(value=alert)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "-l", "warn"]
    app.main()

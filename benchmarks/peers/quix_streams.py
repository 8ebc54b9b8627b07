"""Quix Streams: a streaming dataframe with a filter and a function, at least once."""

from pathlib import Path
from tempfile import TemporaryDirectory

from quixstreams import Application

from benchmarks.peers.alerts import LEVELS, alert_of, arguments


def main() -> None:
    args = arguments()
    with TemporaryDirectory() as state:
        app = Application(
            broker_address=args.bootstrap,
            consumer_group=args.group,
            auto_offset_reset="earliest",
            auto_create_topics=False,
            # Results of a transaction are seen when it commits, so that one commits more often.
            commit_interval=0.1 if args.extra else 0.5,
            loglevel="WARNING",
            state_dir=Path(state),
            processing_guarantee=args.extra[0] if args.extra else "at-least-once",
            consumer_extra_config={"queued.min.messages": 200_000, "fetch.wait.max.ms": 50},
            producer_extra_config={
                "acks": "all",
                "enable.idempotence": True,
                "linger.ms": 10,
                "batch.size": 1_000_000,
                "batch.num.messages": 100_000,
                "queue.buffering.max.messages": 1_000_000,
            },
        )
        frame = app.dataframe(app.topic(args.source, value_deserializer="json"))
        frame = frame.filter(lambda event: event["level"] in LEVELS).apply(alert_of)
        frame.to_topic(app.topic(args.output, value_serializer="json"))
        app.run()


if __name__ == "__main__":
    main()

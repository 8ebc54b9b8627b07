"""Quix Streams: tumbling windows that collect their values, changelog topics on, at least once."""

from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

from quixstreams import Application
from quixstreams.dataframe.windows import Collect

from benchmarks.peers.alerts import arguments

SIZE_MS = 10_000
GRACE_MS = 1_000


def figures(window: dict[str, Any]) -> dict[str, Any]:
    values = sorted(window["values"])
    last = len(values) - 1
    return {
        "start": window["start"],
        "end": window["end"],
        "count": len(values),
        "mean": fmean(values),
        "min": values[0],
        "max": values[-1],
        "std": stdev(values),
        "p50": values[int(0.5 * last)],
        "p95": values[int(0.95 * last)],
        "p99": values[int(0.99 * last)],
    }


def main() -> None:
    args = arguments()
    with TemporaryDirectory() as state:
        app = Application(
            broker_address=args.bootstrap,
            consumer_group=args.group,
            auto_offset_reset="earliest",
            commit_interval=0.5,
            loglevel="WARNING",
            state_dir=Path(state),
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
        source = app.topic(
            args.source,
            value_deserializer="json",
            timestamp_extractor=lambda value, _headers, _timestamp, _type: value["timestamp"],
        )
        frame = (
            app.dataframe(source)
            .tumbling_window(duration_ms=SIZE_MS, grace_ms=GRACE_MS)
            .agg(values=Collect("value"))
            .final()
            .apply(figures)
        )
        frame.to_topic(app.topic(args.output, value_serializer="json"))
        app.run()


if __name__ == "__main__":
    main()

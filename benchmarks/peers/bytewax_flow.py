"""Bytewax: one dataflow with its Kafka operators; it keeps no positions unless given a store."""

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.run import cli_main

from benchmarks.peers.alerts import alert_bytes, arguments


def flow() -> Dataflow:
    args = arguments()
    dataflow = Dataflow("alerts")
    events = kop.input(
        "in",
        dataflow,
        brokers=[args.bootstrap],
        topics=[args.source],
        batch_size=5000,
        add_config={"queued.min.messages": "200000", "fetch.wait.max.ms": "50"},
    )

    def alert(message: object) -> KafkaSinkMessage[None, bytes] | None:
        made = alert_bytes(message.value)  # type: ignore[attr-defined]
        return None if made is None else KafkaSinkMessage(None, made)

    alerts = op.filter_map("alert", events.oks, alert)
    kop.output(
        "out",
        alerts,
        brokers=[args.bootstrap],
        topic=args.output,
        add_config={"acks": "all", "enable.idempotence": "true", "linger.ms": "10"},
    )
    return dataflow


if __name__ == "__main__":
    cli_main(flow())

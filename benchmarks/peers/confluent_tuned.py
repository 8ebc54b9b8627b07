"""A loop on librdkafka as a specialist writes it: big chunks in, batches out, rare commits.

``consume`` fetches thousands of records a call, ``produce_batch`` hands over a list in one, and
the delivery reports that Python has to see are those of failures only.  Positions are committed
after a flush, every half second, so nothing uncommitted can be lost.
"""

import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer

from benchmarks.peers.alerts import Arguments, alert_bytes, arguments, exit_on_sigterm

CHUNK = 5000
COMMIT_INTERVAL_S = 0.5


def consumer_settings(args: Arguments) -> dict[str, Any]:
    return {
        "bootstrap.servers": args.bootstrap,
        "group.id": args.group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "queued.min.messages": 200_000,
        # With so many in its queue it rests for a second by default, and the queue runs dry.
        "fetch.queue.backoff.ms": 1,
        "fetch.wait.max.ms": 50,
        "partition.assignment.strategy": "cooperative-sticky",
    }


def producer_settings(args: Arguments, failures: list[KafkaError]) -> dict[str, Any]:
    return {
        "bootstrap.servers": args.bootstrap,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 0 if "latency" in args.extra else 10,
        "partitioner": "murmur2_random",  # Kafka's own; librdkafka's default is another
        "batch.size": 1_000_000,
        "batch.num.messages": 100_000,
        "queue.buffering.max.messages": 1_000_000,
        "delivery.report.only.error": True,
        "on_delivery": lambda error, _message: failures.append(error),
    }


def main() -> None:
    exit_on_sigterm()
    args = arguments()
    failures: list[KafkaError] = []
    consumer = Consumer(consumer_settings(args))
    producer = Producer(producer_settings(args, failures))
    consumer.subscribe([args.source])
    # `consume` waits until it has so many or the time is over, so low latency needs little of both.
    chunk, timeout_s = (200, 0.002) if "latency" in args.extra else (CHUNK, 0.05)
    commit_at_s = time.monotonic() + COMMIT_INTERVAL_S
    dirty = False
    try:
        while True:
            records = consumer.consume(chunk, timeout=timeout_s)
            batch = []
            for record in records:
                if record.error():
                    raise RuntimeError(record.error())
                alert = alert_bytes(record.value())
                if alert is not None:
                    batch.append({"key": record.key(), "value": alert})
            if batch:
                producer.produce_batch(args.output, batch)
            producer.poll(0)
            dirty = dirty or bool(records)
            if dirty and time.monotonic() >= commit_at_s:
                producer.flush()
                if failures:
                    raise RuntimeError(failures[0])
                consumer.commit(asynchronous=True)
                dirty = False
                commit_at_s = time.monotonic() + COMMIT_INTERVAL_S
    finally:
        producer.flush(5)
        consumer.close()


if __name__ == "__main__":
    main()

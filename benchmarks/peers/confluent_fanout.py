"""As `confluent_tuned`, with five output topics."""

import time

from confluent_kafka import Consumer, KafkaError, Producer

from benchmarks.peers.alerts import arguments, exit_on_sigterm
from benchmarks.peers.confluent_tuned import CHUNK, COMMIT_INTERVAL_S, consumer_settings
from benchmarks.peers.confluent_tuned import producer_settings as settings
from benchmarks.peers.fanout import results_of


def main() -> None:
    exit_on_sigterm()
    args = arguments()
    failures: list[KafkaError] = []
    consumer = Consumer(consumer_settings(args))
    producer = Producer(settings(args, failures))
    consumer.subscribe([args.source])
    commit_at_s = time.monotonic() + COMMIT_INTERVAL_S
    dirty = False
    try:
        while True:
            records = consumer.consume(CHUNK, timeout=0.05)
            batches: list[list[dict[str, bytes | None]]] = [[] for _ in args.outputs]
            for record in records:
                if record.error():
                    raise RuntimeError(record.error())
                for topic, value in results_of(record.value()):
                    batches[topic].append({"key": record.key(), "value": value})
            for topic, batch in zip(args.outputs, batches, strict=True):
                if batch:
                    producer.produce_batch(topic, batch)
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

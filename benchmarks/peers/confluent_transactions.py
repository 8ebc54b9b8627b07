"""As `confluent_tuned`, with ten transactions a second in place of flush and commit."""

import time

from confluent_kafka import Consumer, KafkaError, Producer

from benchmarks.peers.alerts import alert_bytes, arguments, exit_on_sigterm
from benchmarks.peers.confluent_tuned import CHUNK, consumer_settings, producer_settings

TRANSACTION_S = 0.1


def main() -> None:
    exit_on_sigterm()
    args = arguments()
    failures: list[KafkaError] = []
    consumer = Consumer(consumer_settings(args) | {"isolation.level": "read_committed"})
    producer = Producer(producer_settings(args, failures) | {"transactional.id": args.group})
    producer.init_transactions()
    consumer.subscribe([args.source])
    try:
        while True:
            producer.begin_transaction()
            end_s = time.monotonic() + TRANSACTION_S
            while time.monotonic() < end_s:
                batch = []
                for record in consumer.consume(CHUNK, timeout=0.05):
                    if record.error():
                        raise RuntimeError(record.error())
                    alert = alert_bytes(record.value())
                    if alert is not None:
                        batch.append({"key": record.key(), "value": alert})
                if batch:
                    producer.produce_batch(args.output, batch)
            reached = [at for at in consumer.position(consumer.assignment()) if at.offset >= 0]
            producer.send_offsets_to_transaction(reached, consumer.consumer_group_metadata())
            producer.commit_transaction()
    finally:
        consumer.close()


if __name__ == "__main__":
    main()

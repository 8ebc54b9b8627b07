"""Run the tests' Apache Kafka by hand: ``python -m tests.kafka`` until Ctrl-C."""

import signal
import sys

from tests.kafka.server import KafkaServer


def main() -> None:
    with KafkaServer() as server:
        sys.stdout.write(f"Apache Kafka listens on {server.bootstrap} (Ctrl-C ends it)\n")
        sys.stdout.flush()
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    main()

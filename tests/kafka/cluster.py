"""Three Apache Kafka brokers as one cluster, each with a replica of everything.

Settings are those of a cluster that is run with care: three replicas of which two have to have a
record before it is acknowledged.  Blocking by design, as :class:`~tests.kafka.server.KafkaServer`.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.kafka.server import QUICK_START, KafkaServer, new_cluster_id

_BROKERS = 3
_HEAP_MB = 320
_SETTINGS = {
    "auto.create.topics.enable": "true",  # Kafka's default
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.num.partitions": "3",
    "offsets.topic.replication.factor": "3",
    "share.coordinator.state.topic.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "transaction.state.log.num.partitions": "3",
    "transaction.state.log.replication.factor": "3",
}


class KafkaCluster:
    """Brokers that are each other's controllers and replicas."""

    def __init__(self) -> None:
        cluster_id = new_cluster_id()
        self.brokers: Sequence[KafkaServer] = [
            KafkaServer(
                overrides=_SETTINGS,
                heap_mb=_HEAP_MB,
                java_options=QUICK_START,
                node=number,
                cluster_id=cluster_id,
            )
            for number in range(1, _BROKERS + 1)
        ]
        voters = [broker.voter for broker in self.brokers]
        for broker in self.brokers:
            broker.join(voters)

    @property
    def bootstrap(self) -> str:
        """All of their addresses."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self) -> None:
        """Start all of them; returns when each serves requests."""
        self._all(KafkaServer.start)  # none is up before it has heard of another

    def close(self) -> None:
        """End all of them and remove their data."""
        self._all(KafkaServer.close)

    def _all(self, do: Callable[[KafkaServer], None]) -> None:
        with ThreadPoolExecutor(_BROKERS) as threads:
            for _ in threads.map(do, self.brokers):
                pass


@contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """A running one; one that does not come up leaves nothing behind."""
    cluster = KafkaCluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.close()

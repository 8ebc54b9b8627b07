"""The reader of dashboards' topics over a client that is a few numbers; a real one is tested in
``tests/integration/edge/test_kafka_reader.py``.
"""

from typing import Any

from service.consumers.kafka_reader import KafkaReader


class Client:
    """Knows the partitions of a topic."""

    def __init__(self) -> None:
        self.partitions: set[int] | None = {0, 1}

    async def start(self) -> None: ...

    async def topics(self) -> set[str]:
        return {"alerts"}

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        del topic
        return self.partitions

    def assign(self, partitions: list[Any]) -> None: ...

    def pause(self, *partitions: Any) -> None: ...

    def seek(self, partition: Any, offset: int) -> None: ...


async def test_a_topic_outgrows_its_reader_when_it_gets_partitions() -> None:
    client: Any = Client()
    reader = KafkaReader(client, "alerts")
    await reader.connect()
    outgrown: list[bool] = []
    for partitions in ({0, 1}, None, {0}, {0, 1, 2}):
        client.partitions = partitions
        outgrown.append(reader.outgrown)

    assert outgrown == [False, False, False, True]

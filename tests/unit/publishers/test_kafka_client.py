import asyncio
import gc
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import ProducerFenced
from aiokafka.producer.message_accumulator import BatchBuilder

from service.errors import BrokerUnavailableError
from service.publishers.base import Row
from service.publishers.kafka_client import KafkaProducerClient, _close, _Writer


@pytest.mark.parametrize(
    "compression", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"]
)
@pytest.mark.parametrize("sent", [True, False], ids=["sent before", "still open"])
def test_a_batch_gives_back_what_was_put_into_it(compression: int, *, sent: bool) -> None:
    rows: list[Row] = [
        (1_700_000_000_000, b"key", b"value", [("name", b"content"), ("name", b"again")]),
        (1_700_000_000_001, None, b"", []),
        (1_700_000_000_002, b"gone", None, []),
    ]
    writer = _Writer(BatchBuilder(10_000, compression))
    assert writer.extend(rows, 0) == 3
    if sent:
        writer.finish()._build()

    assert writer.rows() == rows


def test_an_empty_batch_gives_back_nothing() -> None:
    assert _Writer(BatchBuilder(10_000, 0)).rows() == []


async def test_how_many_partitions_there_are_is_asked_once_until_the_brokers_tell_anew() -> None:
    client = KafkaProducerClient({}, {})
    known: dict[str, set[int] | None] = {"out": {0, 1}, "later": None}
    asked: list[str] = []

    def partitions_for_topic(topic: str) -> set[int] | None:
        asked.append(topic)
        return known[topic]

    cluster = SimpleNamespace(partitions_for_topic=partitions_for_topic)
    client._producer = cast("Any", SimpleNamespace(client=SimpleNamespace(cluster=cluster)))

    assert [client.partitions(topic) for topic in ("out", "later", "out", "later")] == [
        2, None, 2, None,
    ]  # fmt: skip
    assert asked == ["out", "later"]
    known |= {"out": {0, 1, 2}, "later": {0}}
    client._hear_of_topics(cluster)
    assert (client.partitions("out"), client.partitions("later")) == (3, 1)


async def test_a_producer_that_does_not_stop_has_its_sockets_closed() -> None:
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    sender_task: asyncio.Future[None] = loop.create_future()

    async def close() -> None:
        closed.set()

    producer: Any = SimpleNamespace(
        stop=asyncio.Event().wait,
        client=SimpleNamespace(close=close),
        _sender=SimpleNamespace(sender_task=sender_task),
    )
    began_s = loop.time()

    await _close(producer, 3.0)

    assert loop.time() - began_s == 3.0
    assert sender_task.cancelled()
    assert closed.is_set()


async def test_a_producer_that_is_told_of_no_broker_is_closed_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The only broker of a cluster that its controller has not heard of names no broker."""
    stopped: list[AIOKafkaProducer] = []

    async def start(_producer: AIOKafkaProducer) -> None:
        raise AssertionError("Did we not perform bootstrap?")  # as the client does

    async def stop(producer: AIOKafkaProducer) -> None:
        producer._closed = True
        stopped.append(producer)

    monkeypatch.setattr(AIOKafkaProducer, "start", start)
    monkeypatch.setattr(AIOKafkaProducer, "stop", stop)

    with pytest.raises(BrokerUnavailableError, match="bootstrap"):
        await KafkaProducerClient({"transactional_id": "group-in-0"}, {}).start()
    assert len(stopped) == 1


async def test_a_producer_that_was_fenced_leaves_no_traceback_of_its_own_behind() -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, what: complaints.append(what["message"]))
    producer = AIOKafkaProducer(transactional_id="t", bootstrap_servers="127.0.0.1:1")
    producer._txn_manager.set_pid_and_epoch(1, 1)
    producer._txn_manager.begin_transaction()
    producer._txn_manager.fatal_error(ProducerFenced())

    await _close(producer, 1.0)
    del producer
    gc.collect()

    assert complaints == []

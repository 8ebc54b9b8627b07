import pytest

from service.errors import FencedError
from service.publishers.base import ProduceFailedError
from service.testing.broker import MemoryBroker
from service.testing.broker_transactions import MemoryTransactions


async def _started(broker: MemoryBroker, transactional_id: str = "id") -> MemoryTransactions:
    producer = MemoryTransactions(broker, transactional_id)
    await producer.start()
    return producer


async def _send(producer: MemoryTransactions, value: bytes) -> None:
    batch = producer.new_batch()
    batch.append(None, None, value, ())
    await (await producer.send("out", 0, batch))


async def test_nothing_is_visible_before_the_commit_and_everything_after() -> None:
    broker = MemoryBroker()
    broker.create_topic("in")
    broker.create_topic("out")
    producer = await _started(broker)

    await producer.begin()
    await _send(producer, b"1")
    await producer.send_offsets("group", {("in", 0): (5, "text")})
    before = (broker.records("out"), dict(broker.committed("group", "in")))
    await producer.commit()

    assert before == ([], {})
    assert [record.value for record in broker.records("out")] == [b"1"]
    assert broker.committed("group", "in") == {0: 5}


async def test_an_aborted_transaction_leaves_nothing() -> None:
    broker = MemoryBroker()
    broker.create_topic("out")
    producer = await _started(broker)

    await producer.begin()
    await _send(producer, b"1")
    await producer.abort()
    await producer.begin()
    await producer.commit()

    assert broker.records("out") == []


async def test_a_newer_owner_of_the_id_fences_the_older_one() -> None:
    broker = MemoryBroker()
    broker.create_topic("out")
    older = await _started(broker)
    await older.begin()
    await _started(broker)

    with pytest.raises(FencedError):
        await older.commit()


async def test_sending_outside_a_transaction_fails() -> None:
    broker = MemoryBroker()
    broker.create_topic("out")
    producer = await _started(broker)

    with pytest.raises(ProduceFailedError):
        await _send(producer, b"1")

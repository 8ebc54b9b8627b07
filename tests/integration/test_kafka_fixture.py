"""The ground the other integration tests stand on: does the fixture do what it says?"""

import pytest

from tests.kafka.client import Kafka

pytestmark = pytest.mark.integration


async def test_what_is_produced_is_consumed_with_its_key_headers_and_order(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("fixture"), partitions=2)
    sent = [(b"k", b"%d" % number, [("n", b"1"), ("n", b"2")]) for number in range(10)]

    await kafka.produce(topic, sent)
    found = await kafka.consume(topic, 10)

    assert [(r.key, r.value, list(r.headers)) for r in found] == sent
    assert len({r.partition for r in found}) == 1


async def test_consume_without_a_count_reads_what_is_there(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("fixture"), partitions=3)

    assert await kafka.consume(topic) == []

    await kafka.produce(topic, [(None, b"a"), (None, b"b")], partition=2)

    assert [(r.partition, r.offset, r.value) for r in await kafka.consume(topic)] == [
        (2, 0, b"a"),
        (2, 1, b"b"),
    ]
    assert await kafka.end_offsets(topic) == {0: 0, 1: 0, 2: 2}


async def test_consume_says_how_much_is_missing(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("fixture"))
    await kafka.produce(topic, [(None, b"a")])

    with pytest.raises(TimeoutError, match="1 records of 2"):
        await kafka.consume(topic, 2, timeout_s=0.5)


async def test_a_group_that_never_committed_has_no_offset(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("fixture"), partitions=2)

    assert await kafka.committed(kafka.unique("group"), topic) == {0: -1, 1: -1}

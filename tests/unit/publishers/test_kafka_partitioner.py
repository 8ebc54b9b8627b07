import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.publishers import kafka_partitioner
from service.publishers.kafka_partitioner import Partitioner


@given(st.lists(st.none() | st.binary(max_size=3)), st.integers(1, 7))
def test_many_keys_go_where_each_of_them_would(keys: list[bytes | None], count: int) -> None:
    partitioner = Partitioner()

    found = partitioner.partitions(keys, count, 0)

    assert found == [0 if key is None else Partitioner().partition(key, count) for key in keys]
    assert partitioner.partitions(keys, count, 0) == found


def test_the_partition_is_the_one_that_the_java_client_computes() -> None:
    # murmur2 of "21" is -973932308 in Kafka's own test of the hash
    assert Partitioner().partition(b"21", 1000) == (-973932308 & 0x7FFFFFFF) % 1000


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_partitioner, "REMEMBERED_KEYS", 10)
    partitioner = Partitioner()

    for number in range(100):
        partitioner.partition(b"%d" % number, 4)

    assert sum(map(len, partitioner._memory.values())) <= 10

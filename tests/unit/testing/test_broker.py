import asyncio
from collections.abc import Collection

import pytest

from service.consumers.base import CommittedOffset, TopicPartition
from service.errors import BrokerUnavailableError
from service.testing.broker import Member, MemoryBroker


class _Listener:
    def __init__(self) -> None:
        self.story: list[tuple[str, list[int]]] = []
        self.takes_s = 0.0

    async def on_revoked(self, partitions: Collection[TopicPartition]) -> None:
        await asyncio.sleep(self.takes_s)
        self.story.append(("revoked", sorted(p.partition for p in partitions)))

    def on_assigned(self, partitions: Collection[TopicPartition]) -> None:
        self.story.append(("assigned", sorted(p.partition for p in partitions)))


@pytest.fixture
def broker() -> MemoryBroker:
    broker = MemoryBroker()
    broker.create_topic("t", 3)
    return broker


def _member() -> tuple[Member, _Listener]:
    listener = _Listener()
    return Member(frozenset({"t"}), listener), listener


def test_records_of_a_key_share_a_partition_and_keep_their_order(broker: MemoryBroker) -> None:
    written = [broker.produce("t", b"%d" % n, key=b"k", timestamp=n) for n in range(5)]

    (partition,) = {record.partition for record in written}
    assert broker.records("t", partition) == written
    assert [record.offset for record in written] == [0, 1, 2, 3, 4]
    assert written[0].header("none") is None


def test_a_hole_moves_the_offsets_behind_it(broker: MemoryBroker) -> None:
    broker.produce("t", b"a", partition=0)
    broker.skip("t", 0, 2)

    assert broker.produce("t", b"b", partition=0).offset == 3


def test_truncation_forgets_the_front(broker: MemoryBroker) -> None:
    for _ in range(3):
        broker.produce("t", b"a", partition=0)

    broker.truncate("t", 0, 2)

    assert [record.offset for record in broker.records("t")] == [2]
    assert broker.log(TopicPartition("t", 0)).start == 2


def test_what_does_not_exist_is_refused(broker: MemoryBroker) -> None:
    with pytest.raises(BrokerUnavailableError):
        broker.log(TopicPartition("t", 3))
    with pytest.raises(ValueError, match="exists"):
        broker.create_topic("t")


def test_lag_counts_what_is_not_committed(broker: MemoryBroker) -> None:
    for partition in (0, 0, 1):
        broker.produce("t", b"a", partition=partition)
    broker.group("g").offsets[TopicPartition("t", 0)] = CommittedOffset(1)

    assert broker.lag("g", "t") == 2
    assert broker.committed("g", "t") == {0: 1}


async def test_a_rebalance_revokes_everything_first_and_then_assigns(
    broker: MemoryBroker,
) -> None:
    group = broker.group("g")
    one, first = _member()
    two, second = _member()
    first.takes_s = 2.0
    await group.join(one)
    await group.join(two)

    assert first.story == [("assigned", [0, 1, 2]), ("revoked", [0, 1, 2]), ("assigned", [0, 2])]
    assert second.story == [("assigned", [1])]
    assert asyncio.get_running_loop().time() == 2.0

    await group.leave(one)
    assert second.story[-1] == ("assigned", [0, 1, 2])
    assert one.generation == -1


async def test_waiting_ends_with_what_happens_or_with_time(broker: MemoryBroker) -> None:
    loop = asyncio.get_running_loop()
    await broker.changed(3.0)
    assert loop.time() == 3.0

    loop.call_later(1.0, broker.produce, "t", b"a")
    await broker.changed(60.0)
    assert loop.time() == 4.0

"""A changelog is read to its end, whatever one of its batches is."""

from collections.abc import Collection
from typing import Any

from service.consumers import kafka_changelog
from service.consumers.base import Fetched, TopicPartition
from tests.unit.consumers.test_kafka_runs import taken, undecodable
from tests.unit.consumers.test_kafka_tap import OURS, batch


class Answers:
    """A tap that has one answer."""

    def __init__(self, *answers: Fetched) -> None:
        self._left = list(answers)

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        assert OURS in partitions
        return [self._left.pop(0)]


async def test_of_small_batches_side_by_side_only_the_one_that_cannot_be_decoded_is_passed_over(
) -> None:  # fmt: skip
    answer = taken(batch(0, [b"a", b"b"]), undecodable(2), batch(4, [b"c", b"d"]))
    tap: Any = Answers(answer)

    chunks = [chunk async for chunk in kafka_changelog._chunks(tap, OURS, 0, 6)]

    assert len(answer.batches) == 1
    values = [record.value for chunk in chunks for record in chunk.records]
    assert values == [b"a", b"b", b"c", b"d"]
    assert [chunk.next_offset for chunk in chunks] == [2, 4, 6]

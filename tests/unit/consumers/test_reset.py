"""A position that is gone from the log, in a partition that is gone by the time this is clear."""

import asyncio
from collections.abc import Collection
from typing import Any

from service.consumers.base import CommittedOffset, OffsetGoneError, TopicPartition
from service.consumers.kafka_assignment import Assignment
from service.consumers.kafka_committer import Committer
from service.consumers.kafka_intake import Intake
from service.consumers.kafka_member import Member
from service.consumers.kafka_opening import Opening
from service.consumers.kafka_options import KafkaSourceOptions
from service.consumers.kafka_partition import Phase, SourcePartition
from service.delivery.budget import MemoryBudget
from service.delivery.quarantine import Quarantine
from service.delivery.suspicion import QuarantinePolicy
from service.metrics import PipelineCounters

HERE = TopicPartition("t", 0)


async def test_a_partition_that_went_while_its_beginning_was_asked_for_is_not_taken_back() -> None:
    budget = MemoryBudget[TopicPartition](max_records=10, max_bytes=1000)
    opening = Opening(None, None, budget)
    member = Member(
        "source", budget=budget, counters=PipelineCounters("p"), opening=opening, tracing=None,
        quarantine=Quarantine[SourcePartition](QuarantinePolicy(), owner=1), transactions=None,
        options=KafkaSourceOptions(),
    )  # fmt: skip
    assignment = Assignment(member, Committer(member))
    admission: Any = None
    intake = Intake(member, assignment, admission)

    class Client:
        sought = False

        async def beginning_offsets(self, names: Collection[TopicPartition]) -> Any:
            await asyncio.sleep(0.1)
            await assignment.on_revoked(names)
            return dict.fromkeys(names, 5)

        def seek(self, *_: object) -> None:
            self.sought = True

    client: Any = Client()
    assignment.on_assigned([HERE])
    held = member.held[HERE]
    held.resume(CommittedOffset(3), 0)

    await intake._reset(client, OffsetGoneError(HERE, 3))

    assert held.phase is Phase.REVOKED
    assert member.uncommitted() == []
    assert not client.sought

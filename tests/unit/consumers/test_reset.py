"""A position that is gone from the log: what becomes of its partition, and of what was read."""

import asyncio
from collections.abc import Collection
from typing import Any

import pytest

from service import Event, handler
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
from service.telemetry import Tracing
from service.testing.harness import Harness, pipeline_of

HERE = TopicPartition("t", 0)


async def test_a_partition_that_went_while_its_beginning_was_asked_for_is_not_taken_back() -> None:
    budget = MemoryBudget[TopicPartition](max_records=10, max_bytes=1000)
    opening = Opening(None, None, budget)
    member = Member(
        "source", budget=budget, counters=PipelineCounters("p"), opening=opening,
        quarantine=Quarantine[SourcePartition](QuarantinePolicy(), owner=1), transactions=None,
        options=KafkaSourceOptions(), tracing=Tracing(None),
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


@handler("reset.slow")
async def slow(event: Event) -> dict[str, Any]:
    await asyncio.sleep(5)
    return {"n": event.data["n"]}


@pytest.mark.parametrize("policy", ["earliest", "latest"])
@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
async def test_what_was_read_before_retention_went_past_the_position_is_not_lost(
    delivery: str, policy: str
) -> None:
    config = pipeline_of(slow, concurrency=10)
    config["pipelines"]["test"]["delivery"] = delivery
    config["pipelines"]["test"]["sources"]["kafka"]["out_of_range"] = policy

    async with Harness(config) as service:
        for n in range(10):
            await service.send({"n": n}, key=f"{n}")
        await service.advance(1)
        service.broker.skip("input", count=20)
        service.broker.truncate("input", 0, 30)
        await service.advance(1)
        seen = service.outputs()
        await service.send({"n": 30}, key="30")
        await service.settle()
        resets = service.application.pipelines["test"].counters.offset_resets

    assert seen == []
    assert sorted(output["n"] for output in service.outputs()) == [*range(10), 30]
    assert service.committed() == {0: 31}
    assert resets == 1


async def test_where_retention_went_to_is_committed_although_nothing_has_come_since() -> None:
    async with Harness(pipeline_of(slow)) as service:
        service.broker.skip("input", count=20)
        service.broker.truncate("input", 0, 20)
        await service.advance(1)

        assert service.committed() == {0: 20}

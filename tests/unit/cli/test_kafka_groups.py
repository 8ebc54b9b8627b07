"""What coordinators answer about a group, in particular those that are not there yet."""

import asyncio
from typing import Any, cast

import pytest
from aiokafka import TopicPartition
from aiokafka.protocol.admin import DescribeGroupsResponse_v1
from aiokafka.structs import OffsetAndMetadata

from service.cli.kafka_groups import Committed, GroupTools
from service.errors import BrokerUnavailableError
from service.settings import build_settings

LOADING = 14


class Coordinator:
    """The client's admin as it passes the answers on; loads the group for the first ``loading``."""

    def __init__(self, loading: float) -> None:
        self._loading = loading
        self.asked = 0

    def _loads(self) -> bool:
        self.asked += 1
        return self.asked <= self._loading

    async def list_consumer_group_offsets(
        self, group: str, partitions: list[Any]
    ) -> dict[Any, OffsetAndMetadata]:
        assert (group, len(partitions)) == ("g", 2)
        if self._loads():
            return {}  # the error of the whole answer is lost in the client
        never = OffsetAndMetadata(-1, "")
        return dict.fromkeys(partitions, never) | {
            TopicPartition("t", 0): OffsetAndMetadata(7, "hr3:")
        }

    async def describe_consumer_groups(self, groups: list[str]) -> list[Any]:
        member = ("id", "client", "host", b"", b"")
        group = (
            (LOADING, *groups, "", "", "", [])
            if self._loads()
            else (0, *groups, "Stable", "consumer", "range", [member, member])
        )
        return [DescribeGroupsResponse_v1(0, [group])]


def tools(monkeypatch: pytest.MonkeyPatch, coordinator: Coordinator) -> GroupTools:
    async def admin_client() -> Coordinator:
        return coordinator

    made = GroupTools(build_settings({}).kafka)
    monkeypatch.setattr(made, "admin_client", admin_client)
    return made


async def test_a_group_that_is_still_loaded_is_not_taken_for_one_that_never_committed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = Coordinator(loading=3)

    committed = await tools(monkeypatch, coordinator).committed("g", "t", 2)

    assert committed == {0: Committed(7, "hr3:"), 1: Committed(-1, "")}
    assert coordinator.asked == 4


async def test_a_group_that_is_still_loaded_is_not_taken_for_one_without_members(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    coordinator = Coordinator(loading=3)

    assert await tools(monkeypatch, coordinator).members("g") == 2
    assert coordinator.asked == 4


@pytest.mark.parametrize("question", ["committed", "members"])
async def test_a_group_that_is_not_loaded_in_time_is_told(
    monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    made = tools(monkeypatch, Coordinator(loading=float("inf")))
    asked = made.committed("g", "t", 2) if question == "committed" else made.members("g")

    with pytest.raises(BrokerUnavailableError, match="group g has no coordinator within 10 s"):
        await cast("asyncio.Future[Any]", asked)

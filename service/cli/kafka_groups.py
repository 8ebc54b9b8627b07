"""Groups, as the commands see them: what is committed, how many members, committing for them."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)
from aiokafka.structs import OffsetAndMetadata

from service.cli.kafka_clients import KafkaClients, deadline, refusal

SETTLE_S = 0.1
"""Pause between questions while a coordinator starts."""
STARTING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)
"""What is answered until a group has a coordinator that is up."""


@dataclass(frozen=True, slots=True)
class Committed:
    """What a group has committed for a partition; ``next_offset`` is -1 if nothing."""

    next_offset: int
    metadata: str


Commit: TypeAlias = Callable[[Mapping[int, tuple[int, str]]], Awaitable[None]]
"""Commits next offset and metadata per partition."""


class GroupTools(KafkaClients):
    """What can be done with a group."""

    async def committed(self, group: str, topic: str, partitions: int) -> dict[int, Committed]:
        """What ``group`` has committed for each partition of ``topic``."""
        admin = await self.admin_client()
        wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
        async with deadline(f"group {group} has no coordinator"):
            found = await self._group_offsets(admin, group, wanted)
        return {
            at.partition: Committed(found[at].offset, found[at].metadata or "")
            if at in found
            else Committed(-1, "")
            for at in wanted
        }

    async def _group_offsets(self, admin: Any, group: str, wanted: list[Any]) -> Any:
        while True:
            try:
                # with its metadata, which the consumer's own committed() leaves out
                return await admin.list_consumer_group_offsets(group, partitions=wanted)
            except STARTING:  # the first look at any group makes the broker create its topic
                await asyncio.sleep(SETTLE_S)
            except KafkaError as error:
                raise refusal(error, f"group {group}") from error

    async def members(self, group: str) -> int:
        """How many members ``group`` has now; 0 if there is no such group."""
        admin = await self.admin_client()
        async with deadline(f"group {group} has no coordinator"):
            answers = await self._groups(admin, group)
        # error code, group, state, protocol type, protocol, members
        return sum(len(described[5]) for answer in answers for described in answer.groups)

    async def _groups(self, admin: Any, group: str) -> Any:
        while True:
            try:
                return await admin.describe_consumer_groups([group])
            except STARTING:  # as for the offsets
                await asyncio.sleep(SETTLE_S)
            except KafkaError as error:
                raise refusal(error, f"group {group}") from error

    @asynccontextmanager
    async def committing(
        self, group: str, topic: str, partitions: Iterable[int]
    ) -> AsyncGenerator[Commit]:
        """Commits for a group that has no members: next offset and metadata per partition."""
        async with self.consumer_client(group_id=group) as consumer:
            consumer.assign([TopicPartition(topic, partition) for partition in partitions])

            async def commit(offsets: Mapping[int, tuple[int, str]]) -> None:
                await self.call(
                    consumer,
                    "commit",
                    {
                        TopicPartition(topic, partition): OffsetAndMetadata(*committed)
                        for partition, committed in offsets.items()
                    },
                )

            yield commit

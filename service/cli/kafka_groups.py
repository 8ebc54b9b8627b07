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
    for_code,
)
from aiokafka.structs import OffsetAndMetadata

from service.cli.kafka_clients import KafkaClients, deadline, refusal

_SETTLE_S = 0.1
_STARTING = (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    NotCoordinatorForGroupError,
)


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
        # with its metadata, which the consumer's own committed() leaves out
        found = await once_started(group, lambda: _offsets(admin, group, wanted), "READ")
        return {
            at.partition: Committed(found[at].offset, found[at].metadata or "") for at in wanted
        }

    async def members(self, group: str) -> int:
        """How many members ``group`` has now; 0 if there is no such group."""
        admin = await self.admin_client()
        described = await once_started(group, lambda: _described(admin, group), "DESCRIBE")
        return sum(len(members) for *_, members in described)

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
                    what=f"group {group} of topic {topic}",
                    right="READ on both",
                )

            yield commit


async def _offsets(admin: Any, group: str, wanted: list[Any]) -> Mapping[Any, Any]:
    """What is committed for each of ``wanted``, -1 where that is nothing.

    A coordinator that is not there yet, as after a restart of its broker, answers with one error
    for everything and lists no partition.  The client overlooks the error: it would look as if
    nothing had ever been committed, and a redrive send everything again.

    Raises:
        GroupLoadInProgressError: If the answer is not about all of them.
    """
    found: Mapping[Any, Any] = await admin.list_consumer_group_offsets(group, partitions=wanted)
    if not found.keys() >= set(wanted):
        raise GroupLoadInProgressError("the group's offsets are not known yet")
    return found


async def _described(admin: Any, group: str) -> list[tuple[Any, ...]]:
    """Error code, group, state, protocol type, protocol and members; one such tuple.

    Raises:
        KafkaError: What the answer says, which the client overlooks; it has no members then.
    """
    answers = await admin.describe_consumer_groups([group])
    described = [each[:6] for answer in answers for each in answer.groups]
    for code, *_ in described:
        if code:
            raise for_code(code)(f"group {group} cannot be described")
    return described


async def once_started(group: str, ask: Callable[[], Awaitable[Any]], right: str) -> Any:
    """What ``ask`` gives as soon as ``group`` has a coordinator that is up.

    The first look at any group makes the broker create its topic, which takes a moment.

    Args:
        group: Whose.
        ask: Asks once.
        right: What is needed for it.

    Raises:
        AccessDeniedError: If the group may not be used.
        BrokerUnavailableError: If there is none in time.
        KafkaToolError: If the broker refuses otherwise.
    """
    async with deadline(f"group {group} has no coordinator"):
        while True:
            try:
                return await ask()
            except _STARTING:
                await asyncio.sleep(_SETTLE_S)
            except KafkaError as error:
                raise refusal(error, f"group {group}", right) from error

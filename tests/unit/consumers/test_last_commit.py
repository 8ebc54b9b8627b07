"""The commit with which a member leaves is its last."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from service import Event, handler
from service.consumers.base import CommittedOffset, TopicPartition
from service.delivery.commit_metadata import decode
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryConsumer
from service.testing.harness import Harness, pipeline_of

COMMIT_S = 0.2
"""What the answer to a commit takes: so long that one of the timer's waits for each other one."""


@handler("last_commit_tests")
async def hang(event: Event) -> dict[str, Any]:
    """As long as it is told to."""
    await asyncio.sleep(event.data["takes_s"])
    return {"n": event.data["n"]}


async def test_what_a_member_commits_last_says_that_it_has_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_once = MemoryConsumer.commit

    async def commit(
        client: MemoryConsumer, offsets: Mapping[TopicPartition, CommittedOffset]
    ) -> None:
        await at_once(client, offsets)
        await asyncio.sleep(COMMIT_S)

    monkeypatch.setattr(MemoryConsumer, "commit", commit)
    broker = MemoryBroker()
    async with Harness(pipeline_of(hang, timeout_s=600), broker=broker) as service:
        await service.send({"n": 0, "takes_s": 100}, key="a")
        await service.send({"n": 1, "takes_s": 0}, key="b")
        await service.advance(2)
        before = broker.commits[-1].offset
        await service.drain()
        last = broker.commits[-1].offset

    assert decode(before.next_offset, before.metadata).journal is not None
    assert decode(last.next_offset, last.metadata).journal is None

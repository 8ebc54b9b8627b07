"""A real client whose brokers are away, and somebody who asks all the time, as its reader does."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.protocol import fetch
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.structs import BrokerMetadata

from service.pauses import EMPTY_S, KNOWN_WITHIN_S, PAUSE_S, pause_between_questions

WATCHED_S = 0.5
CALM = WATCHED_S / PAUSE_S + 2


async def _questions(prepare: Callable[[Any], None]) -> int:
    """How often the client asks."""
    client: Any = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")
    prepare(client)
    client.cluster._brokers = {1: BrokerMetadata(1, "127.0.0.1", 1, None)}  # nobody listens there
    asked = 0
    with suppress(TimeoutError):
        async with asyncio.timeout(WATCHED_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(client._md_synchronizer())
            while True:
                await asyncio.sleep(0)
                await client.force_metadata_update()
                asked += 1
    await client.close()
    return asked


@pytest.mark.real_loops
async def test_it_asks_again_after_a_pause() -> None:
    assert 1 <= await _questions(pause_between_questions) <= CALM


@pytest.mark.real_loops
async def test_by_itself_the_client_asks_without_one() -> None:
    # so that we notice when the pause is not needed any more
    assert await _questions(lambda _: None) > 2 * CALM


class Client:
    """Is answered at once, and notes when it asked."""

    def __init__(self) -> None:
        self.asked_at_s: list[float] = []

    async def _metadata_update(self, *arguments: object) -> bool:
        assert arguments == ("cluster", ["topic"])
        self.asked_at_s.append(asyncio.get_running_loop().time())
        return True


async def test_answers_are_not_asked_for_again_at_once_either() -> None:
    client: Any = Client()
    pause_between_questions(client)
    began_s = asyncio.get_running_loop().time()
    for wait_s in (0, 0, 10 * PAUSE_S):
        await asyncio.sleep(wait_s)
        assert await client._metadata_update("cluster", ["topic"])

    asked_after_s = [at_s - began_s for at_s in client.asked_at_s]
    assert asked_after_s == pytest.approx([0, PAUSE_S, 11 * PAUSE_S])


def test_a_client_without_these_names_keeps_its_own_way() -> None:
    client = SimpleNamespace()

    pause_between_questions(client)

    assert vars(client) == {}


def _answer(*records: bytes) -> Any:
    partitions = [(number, 0, 100, content) for number, content in enumerate(records)]
    return SimpleNamespace(topics=[("logs", partitions)])


class Broker:
    """Answers a fetch after a while with what it is given."""

    def __init__(self, answer: Any, takes_s: float) -> None:
        self._answer = answer
        self._takes_s = takes_s

    async def send(self, node_id: int, request: object, *, group: int = 0) -> Any:
        assert request is not None
        assert (node_id, group) == (1, 2)
        await asyncio.sleep(self._takes_s)
        return self._answer


FETCH: Any = FetchRequest(-1, 500, 1, 1_000, 0, [])


@pytest.mark.parametrize(
    ("request_", "records", "takes_s", "wanted_s"),
    [
        (FETCH, [b"", b""], 0.0, EMPTY_S),
        (FETCH, [b"", b""], 0.004, EMPTY_S),
        (FETCH, [b"", b""], 0.5, 0.5),
        (FETCH, [b"", b"records"], 0.0, 0.0),
        (object(), [b""], 0.0, 0.0),
    ],
    ids=["nothing at once", "nothing soon", "nothing after its wait", "records", "no fetch"],
)
async def test_a_fetch_that_brings_nothing_takes_its_time(
    request_: Any, records: list[bytes], takes_s: float, wanted_s: float
) -> None:
    client: Any = Broker(_answer(*records), takes_s)
    pause_between_questions(client)
    began_s = asyncio.get_running_loop().time()

    answer = await client.send(1, request_, group=2)

    assert answer.topics[0][0] == "logs"
    assert asyncio.get_running_loop().time() - began_s == pytest.approx(wanted_s)


class Starting:
    """Asked a broker that has just started, and asserts as the client does.

    Args:
        known_after_s: When an answer names a broker.
    """

    def __init__(self, known_after_s: float) -> None:
        self._known_at_s = asyncio.get_running_loop().time() + known_after_s
        self._known = False

    def get_random_node(self) -> int | None:
        return 1 if self._known else None

    async def force_metadata_update(self) -> bool:
        self._known = asyncio.get_running_loop().time() >= self._known_at_s
        return self._known

    async def coordinator_lookup(self, kind: int, key: str) -> int:
        assert self._known, "Did we not perform bootstrap?"
        assert (kind, key) == (0, "group")
        return 1


async def test_a_coordinator_is_looked_for_once_a_broker_is_known() -> None:
    client: Any = Starting(1.0)
    pause_between_questions(client)

    assert await client.coordinator_lookup(0, "group") == 1


async def test_a_client_that_gets_to_know_no_broker_says_so_in_the_end() -> None:
    client: Any = Starting(1e9)
    pause_between_questions(client)
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(AssertionError, match="bootstrap"):
        await client.coordinator_lookup(0, "group")

    assert asyncio.get_running_loop().time() - began_s == pytest.approx(KNOWN_WITHIN_S)


@pytest.mark.real_loops
async def test_by_itself_the_client_asserts_that_it_knows_a_broker() -> None:
    # so that we notice when waiting for one is not needed any more
    client = AIOKafkaClient(bootstrap_servers="127.0.0.1:1")

    with pytest.raises(AssertionError, match="bootstrap"):
        await client.coordinator_lookup(0, "group")


@pytest.mark.parametrize(
    "answer", [kind for name, kind in vars(fetch).items() if name.startswith("FetchResponse")]
)
def test_records_are_the_last_field_of_a_partition_in_every_version(answer: Any) -> None:
    # or every answer would pass for one that brings nothing, and take 10 ms
    topics = answer.SCHEMA.fields[answer.SCHEMA.names.index("topics")].array_of
    partitions = topics.fields[topics.names.index("partitions")].array_of

    assert partitions.names[-1] == "message_set"

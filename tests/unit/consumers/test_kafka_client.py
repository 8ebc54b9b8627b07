"""What the consumer edge says of the client's health, by the clock that nobody can set."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    TopicAuthorizationFailedError,
)
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest, SyncGroupRequest
from aiokafka.structs import TopicPartition as ClientPartition

from service.consumers import kafka_client
from service.consumers.base import (
    CommitRefusedError,
    CommittedOffset,
    TopicPartition,
    TopicsRefusedError,
)
from service.consumers.kafka_client import KafkaConsumerClient
from service.errors import BrokerUnavailableError

ANSWER_S = 2.0


class Coordinator:
    """A group coordinator that takes its time to answer."""

    generation = 1

    def __init__(self) -> None:
        self._heartbeat_task = None
        self._coordination_task = None
        self.answer: object = None
        self.commits: list[Any] = []
        self.dead = False

    async def _send_req(self, request: object) -> object:
        answer = self.answer or request
        if isinstance(request, OffsetCommitRequest):
            self.commits.append(SimpleNamespace(generation=self.generation))
            answer = self.answer or SimpleNamespace(topics=[])
        await asyncio.sleep(ANSWER_S)
        return answer

    def coordinator_dead(self) -> None:
        self.dead = True

    async def _do_heartbeat(self) -> bool:
        await self._send_req(HeartbeatRequest("group", 1, "member"))
        return True


class Consumer:
    """As much of the client's consumer as the edge looks at."""

    def __init__(self, **_: Any) -> None:
        self._coordinator = Coordinator()
        self._client = SimpleNamespace(
            cluster=SimpleNamespace(
                _last_successful_refresh_ms=1_000_000.0,
                unauthorized_topics=set[str](),
                partitions_for_topic={"logs": {0}}.get,
            ),
            _sync_task=None,
            send=self._send,
        )
        self.throttle_time_ms = 0
        self._fetcher = SimpleNamespace(_fetch_task=None)
        self._subscription = SimpleNamespace(reassignment_in_progress=False)

    async def _send(self, _node: object, _request: object) -> object:
        return SimpleNamespace(throttle_time_ms=self.throttle_time_ms)

    async def commit(self, offsets: object) -> None:
        """Try again once, in whatever generation there is by then, as the client does."""
        del offsets
        for _ in range(2):
            request = OffsetCommitRequest("group", self._coordinator.generation, "member", -1, [])
            await self._coordinator._send_req(request)

    async def start(self) -> None:
        """Nothing to connect to."""

    def subscribe(self, *, topics: list[str], listener: Any) -> None:
        assert topics == ["logs"]
        self.listener = listener


class Listener:
    """Takes every assignment."""

    async def on_revoked(self, partitions: object) -> None:
        """Nothing to finish."""

    def on_assigned(self, partitions: object) -> None:
        assert partitions == frozenset({TopicPartition("logs", 0)})


@pytest.fixture
async def client(monkeypatch: pytest.MonkeyPatch) -> KafkaConsumerClient:
    monkeypatch.setattr(kafka_client, "make_consumer", Consumer)
    monkeypatch.setattr(kafka_client, "make_tap", lambda _: None)
    made = KafkaConsumerClient(["logs"], "group", {})
    await made.start(Listener())
    return made


def consumer_of(client: KafkaConsumerClient) -> Any:
    return client._consumer


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def test_a_heartbeat_counts_from_when_it_was_sent(client: KafkaConsumerClient) -> None:
    await asyncio.sleep(10.0)
    sent_at_s = now_s()

    await consumer_of(client)._coordinator._do_heartbeat()

    assert now_s() == sent_at_s + ANSWER_S
    assert client.health().last_heartbeat_at_s == sent_at_s


async def test_a_quota_holds_it_back_for_as_long_as_the_broker_says(
    client: KafkaConsumerClient,
) -> None:
    consumer = consumer_of(client)
    consumer.throttle_time_ms = 11_000
    await consumer._client.send(1, "fetch")
    consumer.throttle_time_ms = 0
    await consumer._client.send(1, "fetch")

    assert client.health().throttled_until_s == now_s() + 11.0


async def test_a_join_counts_from_when_its_last_question_was_sent(
    client: KafkaConsumerClient,
) -> None:
    await asyncio.sleep(10.0)
    sent_at_s = now_s()
    await consumer_of(client)._coordinator._send_req(SyncGroupRequest("group", 1, "member", "", []))
    await asyncio.sleep(5.0)  # stopped before the answer was acted on

    consumer_of(client).listener.on_partitions_assigned([ClientPartition("logs", 0)])

    assert client.health().last_heartbeat_at_s == sent_at_s


async def test_a_commit_is_not_tried_again_in_another_generation(
    client: KafkaConsumerClient,
) -> None:
    coordinator = consumer_of(client)._coordinator
    offsets = {TopicPartition("logs", 0): CommittedOffset(7)}
    asyncio.get_running_loop().call_later(ANSWER_S, setattr, coordinator, "generation", 3)

    with pytest.raises(CommitRefusedError):
        await client.commit(offsets)
    await client.commit(offsets)

    assert [request.generation for request in coordinator.commits] == [1, 3, 3]


async def test_who_is_not_in_the_group_commits_nothing(client: KafkaConsumerClient) -> None:
    coordinator = consumer_of(client)._coordinator
    coordinator.generation = -1

    with pytest.raises(CommitRefusedError):
        await client.commit({TopicPartition("logs", 0): CommittedOffset(7)})

    assert coordinator.commits == []


async def test_metadata_is_as_old_as_its_last_change_whatever_the_wall_clock_says(
    client: KafkaConsumerClient,
) -> None:
    cluster = consumer_of(client)._client.cluster
    first_s = now_s()
    assert client.health().last_metadata_at_s == first_s

    await asyncio.sleep(20.0)
    assert client.health().last_metadata_at_s == first_s
    cluster._last_successful_refresh_ms -= 3_600_000.0  # read again, an hour earlier

    assert client.health().last_metadata_at_s == first_s + 20.0


async def test_topics_that_no_broker_knows_of_are_named(client: KafkaConsumerClient) -> None:
    cluster = consumer_of(client)._client.cluster
    assert list(client.health().missing) == []

    cluster.partitions_for_topic = {}.get

    assert list(client.health().missing) == ["logs"]
    assert list(client.health().hidden) == []


async def test_a_topic_that_we_may_not_know_of_is_not_called_missing(
    client: KafkaConsumerClient,
) -> None:
    cluster = consumer_of(client)._client.cluster
    cluster.partitions_for_topic = {}.get
    cluster.unauthorized_topics = {"logs", "of others"}

    assert list(client.health().missing) == []
    assert list(client.health().hidden) == ["logs"]


async def test_a_commit_that_is_refused_for_a_topic_names_it(client: KafkaConsumerClient) -> None:
    async def refuse(_: object) -> None:
        raise TopicAuthorizationFailedError({"secret"})

    consumer_of(client).commit = refuse

    with pytest.raises(TopicsRefusedError) as refused:
        await client.commit({TopicPartition("logs", 0): CommittedOffset(7)})

    assert refused.value.topics == {"secret"}


@pytest.mark.parametrize(
    ("error", "looks_for_another"),
    [
        pytest.param(GroupLoadInProgressError, False, id="still-loading"),
        pytest.param(GroupCoordinatorNotAvailableError, False, id="not-there"),
        pytest.param(NotCoordinatorForGroupError, True, id="moved"),
    ],
)
async def test_offsets_that_the_coordinator_cannot_tell_yet_are_not_taken_for_none(
    client: KafkaConsumerClient, error: type[KafkaError], *, looks_for_another: bool
) -> None:
    coordinator = consumer_of(client)._coordinator
    coordinator.answer = SimpleNamespace(topics=[], error_code=error.errno)

    with pytest.raises(error):
        await coordinator._send_req(OffsetFetchRequest("group", [("logs", [0])]))

    assert error.retriable
    assert coordinator.dead is looks_for_another


async def test_offsets_that_were_told_are_passed_on(client: KafkaConsumerClient) -> None:
    coordinator = consumer_of(client)._coordinator
    told = SimpleNamespace(topics=[("logs", [(0, 7, "", 0)])], error_code=0)
    coordinator.answer = told

    assert await coordinator._send_req(OffsetFetchRequest("group", [("logs", [0])])) is told


@pytest.mark.parametrize(
    ("owner", "name", "said"),
    [
        ("_fetcher", "_fetch_task", "fetcher"),
        ("_coordinator", "_coordination_task", "coordination"),
        ("_coordinator", "_heartbeat_task", "heartbeat"),
        ("_client", "_sync_task", "metadata"),
    ],
)
async def test_a_task_of_the_client_that_has_ended_is_named(
    client: KafkaConsumerClient, owner: str, name: str, said: str
) -> None:
    task: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    setattr(getattr(consumer_of(client), owner), name, task)
    running = client.health().failed

    task.set_exception(ValueError("not a Kafka error"))

    assert running is None
    assert client.health().failed == (
        f"the client's {said} task has ended: ValueError('not a Kafka error')"
    )


async def test_a_commit_that_nobody_answers_ends_after_five_seconds(
    client: KafkaConsumerClient,
) -> None:
    consumer_of(client).commit = lambda _: asyncio.Event().wait()
    began_s = now_s()

    with pytest.raises(BrokerUnavailableError):
        await client.commit({TopicPartition("logs", 0): CommittedOffset(1)})

    assert now_s() - began_s == 5.0


async def test_a_start_that_hangs_ends_and_nothing_is_subscribed_before_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def hang(_: Consumer) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(kafka_client, "make_consumer", Consumer)
    monkeypatch.setattr(Consumer, "start", hang)
    client = KafkaConsumerClient(["logs"], "group", {})
    began_s = now_s()

    with pytest.raises(BrokerUnavailableError):
        await client.start(Listener())

    assert now_s() - began_s == kafka_client.CONNECT_TIMEOUT_S
    assert not hasattr(consumer_of(client), "listener")


async def test_a_stop_that_says_cancelled_closes_the_sockets_all_the_same(
    client: KafkaConsumerClient,
) -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    closed: list[str] = []

    async def close() -> None:
        closed.append("sockets")

    consumer = consumer_of(client)
    consumer.stop, consumer._client.close = cancelled, close

    await client.stop()

    assert closed == ["sockets"]


async def test_a_stop_that_hangs_has_a_deadline(client: KafkaConsumerClient) -> None:
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    consumer = consumer_of(client)
    consumer.stop, consumer._client.close = asyncio.Event().wait, close
    began_s = now_s()

    await client.stop()

    assert closed.is_set()
    assert now_s() - began_s == kafka_client.STOP_TIMEOUT_S


@pytest.mark.parametrize(
    ("end", "stable", "readable"),
    [(None, None, None), (9, 5, 5), (9, 9, 9), (9, None, 9), (9, -1, 9)],
    ids=["not fetched", "a transaction is open", "none is open", "an old broker", "uncommitted"],
)
async def test_what_an_open_transaction_hides_is_stored_and_cannot_be_read(
    client: KafkaConsumerClient, end: int | None, stable: int | None, readable: int | None
) -> None:
    consumer = consumer_of(client)
    consumer.highwater = {ClientPartition("logs", 0): end}.__getitem__
    consumer.last_stable_offset = {ClientPartition("logs", 0): stable}.__getitem__
    here = TopicPartition("logs", 0)

    assert client.end_offset_seen(here) == end
    assert client.readable_end_seen(here) == readable


async def test_without_a_client_nothing_has_been_seen_of_a_log(
    client: KafkaConsumerClient,
) -> None:
    client._consumer = None

    assert client.readable_end_seen(TopicPartition("logs", 0)) is None

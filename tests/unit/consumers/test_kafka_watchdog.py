"""When the watchdog asks for a new client: to the second, and not before."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from service.consumers.base import ClientFailedError, ClientHealth, TopicPartition
from service.consumers.kafka_intake import Intake
from service.consumers.kafka_member import Member
from service.consumers.kafka_watchdog import (
    METADATA_MAX_AGE_S,
    MISSING_AGAIN_S,
    MISSING_S,
    STALL_S,
    WATCH_INTERVAL_S,
    Watchdog,
)

PARTITION = TopicPartition("logs", 0)


class Client:
    """A client that is well until it is told otherwise."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self.answering = True
        self.heard_at_s = 0.0
        self.end = 10
        self.open_from: int | None = None
        self.missing: list[str] = []
        self.throttled_until_s = 0.0

    def health(self) -> ClientHealth:
        now_s = asyncio.get_running_loop().time()
        if self.answering:
            self.heard_at_s = now_s
        return ClientHealth(
            last_heartbeat_at_s=self.heard_at_s,
            last_metadata_at_s=self.heard_at_s,
            generation=1,
            failed=self.failed,
            rebalancing=False,
            missing=self.missing,
            throttled_until_s=self.throttled_until_s,
        )

    def end_offset_seen(self, partition: TopicPartition) -> int:
        assert partition == PARTITION
        return self.end

    def readable_end_seen(self, partition: TopicPartition) -> int:
        end = self.end_offset_seen(partition)
        return end if self.open_from is None else self.open_from


class Watched:
    """One member with one partition, which has read everything up to `expected_offset`."""

    def __init__(self) -> None:
        self.client = Client()
        self.counters = SimpleNamespace(records_in=0)
        self.member: Any = SimpleNamespace(
            name="p.kafka",
            client=self.client,
            counters=self.counters,
            last_contact_s=None,
            stopping=asyncio.Event(),
            assigned={PARTITION},
            held={PARTITION: SimpleNamespace(expected_offset=10)},
            lease_valid=lambda: True,
            silent=False,
        )
        self.intake: Any = SimpleNamespace(fetching=True, has_room=lambda _: True)

    async def ends_after_s(self, limit_s: float = 600.0) -> tuple[float | None, str]:
        """After how long, and why; ``None`` if it still watches at `limit_s`."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        watchdog = Watchdog(cast("Member", self.member), cast("Intake", self.intake))
        try:
            async with asyncio.timeout(limit_s):
                await watchdog.run(cast("Any", self.client))
        except TimeoutError:
            return None, ""
        except ClientFailedError as failed:
            return loop.time() - began_s, str(failed)
        raise AssertionError("it ended without a reason")


@pytest.fixture
async def watched() -> Watched:
    return Watched()


async def test_a_client_that_is_well_and_has_read_everything_is_left_alone(
    watched: Watched,
) -> None:
    assert await watched.ends_after_s() == (None, "")


async def test_a_client_that_has_failed_is_replaced_at_the_next_look(watched: Watched) -> None:
    watched.client.failed = "the client's fetcher task has ended"

    assert await watched.ends_after_s() == (WATCH_INTERVAL_S, watched.client.failed)


async def test_without_an_answer_of_any_broker_it_is_replaced_after_a_minute(
    watched: Watched,
) -> None:
    watched.client.health()
    watched.client.answering = False

    after_s, said = await watched.ends_after_s()

    assert after_s == METADATA_MAX_AGE_S + WATCH_INTERVAL_S
    assert said == "no broker has answered for 60 s"


async def test_lag_and_room_and_nothing_fetched_for_15_s_replace_it(watched: Watched) -> None:
    watched.client.end = 11

    after_s, said = await watched.ends_after_s()

    assert after_s == pytest.approx(STALL_S + 2 * WATCH_INTERVAL_S)
    assert said == "nothing fetched for 15 s although there is lag"


async def test_a_client_that_a_quota_holds_back_is_left_alone_for_as_long(watched: Watched) -> None:
    watched.client.end = 11
    watched.client.throttled_until_s = asyncio.get_running_loop().time() + 48.0

    after_s, _ = await watched.ends_after_s()

    assert after_s == pytest.approx(48.0 + STALL_S, abs=2 * WATCH_INTERVAL_S)


@pytest.mark.parametrize("quiet_because", ["no room", "not fetching", "stopping", "not assigned"])
async def test_lag_alone_is_no_stall_of_the_client(watched: Watched, quiet_because: str) -> None:
    watched.client.end = 11
    match quiet_because:
        case "no room":
            watched.intake.has_room = lambda _: False
        case "not fetching":
            watched.intake.fetching = False
        case "stopping":
            watched.member.stopping.set()
        case _:
            watched.member.assigned = set()

    assert await watched.ends_after_s() == (None, "")


async def test_a_transaction_that_somebody_keeps_open_is_no_stall_of_the_client(
    watched: Watched,
) -> None:
    watched.client.end, watched.client.open_from = 500, 10

    assert await watched.ends_after_s() == (None, "")

    watched.client.open_from = None

    after_s, _ = await watched.ends_after_s()
    assert after_s == pytest.approx(STALL_S + 2 * WATCH_INTERVAL_S)


async def test_records_of_any_partition_are_progress(watched: Watched) -> None:
    watched.client.end = 11

    async def feed() -> None:
        for _ in range(10):
            await asyncio.sleep(STALL_S / 2)
            watched.counters.records_in += 1

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(feed())
        after_s, _ = await watched.ends_after_s()

    assert after_s == pytest.approx(10 * STALL_S / 2 + STALL_S, abs=2 * WATCH_INTERVAL_S)


async def test_an_input_topic_that_is_not_there_is_named_now_and_then() -> None:
    watched = Watched()
    watchdog = Watchdog(cast("Member", watched.member), cast("Intake", watched.intake))
    watched.client.missing = ["lost"]
    told: list[float] = []
    loop = asyncio.get_running_loop()

    def note(_logger: object, _method: str, event: Any) -> Any:
        if event["event"] == "input topic does not exist":
            assert (event["topic"], event["source"]) == ("lost", "p.kafka")
            told.append(loop.time())
        raise structlog.DropEvent

    before = structlog.get_config()["processors"]
    structlog.configure(processors=[note])
    try:
        async with asyncio.TaskGroup() as tasks:
            began_s = loop.time()
            watching = tasks.create_task(watchdog.run(cast("Any", watched.client)))
            await asyncio.sleep(70)
            watched.client.missing = []
            await asyncio.sleep(10)
            watched.client.missing = ["lost"]
            await asyncio.sleep(2)
            watched.client.missing = []  # a new client has heard of none for a moment
            await asyncio.sleep(10)
            watching.cancel()
    finally:
        structlog.configure(processors=before)

    assert [at_s - began_s for at_s in told] == [
        pytest.approx(MISSING_S, abs=1.1), pytest.approx(MISSING_S + MISSING_AGAIN_S, abs=1.6),
    ]  # fmt: skip

"""What a fetch brought beyond the budget waits undecoded until there is room for it."""

import asyncio
from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

from service.consumers.base import Fetched, TopicPartition
from service.consumers.kafka_hold import Hold
from service.consumers.kafka_intake import POLL_WAIT_S, Intake
from service.consumers.kafka_partition import Phase
from service.consumers.kafka_refusals import Refusals
from service.consumers.room import RoomWanted, first_of
from service.delivery.budget import MemoryBudget
from service.events import SourceRecord
from service.metrics import PipelineCounters

HERE, THERE = TopicPartition("t", 0), TopicPartition("t", 1)
STORED_BYTES = 600_000


class Stored:
    """A stored batch of one record that unpacks to more than a chunk."""

    size_bytes = STORED_BYTES

    def __init__(self, offset: int) -> None:
        self.first_offset, self.next_offset = offset, offset + 1
        self.decoded = False

    def decode(self) -> list[SourceRecord]:
        self.decoded = True
        return [SourceRecord(b"", offset=self.first_offset)]


class Client:
    """Answers once with everything that it has."""

    def __init__(self, *answers: Fetched) -> None:
        self.answers = list(answers)
        self.asked: list[set[TopicPartition]] = []

    def arrived(self) -> Collection[TopicPartition]:
        return {answer.partition for answer in self.answers}

    def take(self, partitions: Collection[TopicPartition]) -> list[Fetched]:
        self.asked.append(set(partitions))
        taken = [answer for answer in self.answers if answer.partition in partitions]
        self.answers = [answer for answer in self.answers if answer not in taken]
        return taken

    async def wait(self, timeout_s: float, until: asyncio.Future[None] | None = None) -> None:
        await first_of((), until, timeout_s)


class Reading:
    """An intake with everything around it reduced to what it asks."""

    def __init__(self, client: Client, max_bytes: int) -> None:
        self.client = client
        self.sent: list[tuple[TopicPartition, int]] = []
        self.more: list[bool] = []  # at each of them, whether more was in hand
        self.budget = MemoryBudget[TopicPartition](max_records=1000, max_bytes=max_bytes)
        self.budget.assign({HERE, THERE})
        self.held = {
            name: SimpleNamespace(
                partition=name, phase=Phase.RUNNING, closing=False, hold=Hold(), epoch=1,
                has_metadata_room=lambda _: True,
            )
            for name in (HERE, THERE)
        }  # fmt: skip
        self.counters = PipelineCounters("p")
        member: Any = SimpleNamespace(
            held=self.held, assigned={HERE, THERE}, budget=self.budget, client=client,
            stopping=asyncio.Event(), counters=self.counters, last_contact_s=0.0,
            lease_valid=lambda: True, options=SimpleNamespace(delay_s=None), room=RoomWanted(),
            opening=SimpleNamespace(hasten=self._hasten), refusals=Refusals(),
        )  # fmt: skip
        self.hastened = 0
        self.room: RoomWanted = member.room
        assignment: Any = SimpleNamespace(prepare=self._prepare)
        admission: Any = SimpleNamespace(batch=self._batch, send=self._send)
        self.intake = Intake(member, assignment, admission)

    async def run(self, seconds: float) -> None:
        """Read for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self.intake.run(self.client, None)  # type: ignore[arg-type]
        except TimeoutError:
            return

    def done(self, name: TopicPartition, size_bytes: int = STORED_BYTES) -> None:
        """A batch of one record is done."""
        self.budget.give_back(name, records=1, size_bytes=size_bytes)
        self.room.made(name)

    async def _prepare(self, client: Any) -> None:
        del client

    def _hasten(self) -> None:
        self.hastened += 1

    def _batch(self, held: Any, epoch: int, records: Any, position: int, size_bytes: int) -> Any:
        del epoch, position
        return held.partition, list(records), size_bytes

    async def _send(self, batch: Any, inbox: Any) -> None:
        del inbox
        partition, records, size_bytes = batch
        if records:
            self.budget.take(partition, records=len(records), size_bytes=size_bytes)
            self.sent += [(partition, record.offset) for record in records]
            self.more.append(self.counters.more_in_hand)
        await asyncio.sleep(0)  # as a channel does: it lets others run


def _answer(partition: TopicPartition, count: int) -> Fetched:
    return Fetched(partition, 0, [Stored(offset) for offset in range(count)])


async def test_a_fetch_that_unpacks_to_more_than_the_budget_is_decoded_in_turns() -> None:
    answer = _answer(HERE, 10)
    reading = Reading(Client(answer), max_bytes=2_000_000)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reading.run(10.0))
        most = 0
        for _ in range(20):
            await asyncio.sleep(0.4)
            most = max(most, reading.budget._bytes.used)
            if reading.budget._bytes.used:
                reading.budget.give_back(HERE, records=1, size_bytes=STORED_BYTES)
        running.cancel()

    assert most <= 2_000_000 + STORED_BYTES
    assert reading.sent == [(HERE, offset) for offset in range(10)]


async def test_it_is_known_whether_more_of_an_answer_comes() -> None:
    reading = Reading(Client(_answer(HERE, 2), _answer(THERE, 2)), max_bytes=10_000_000)

    await reading.run(1.0)

    assert len(reading.sent) == 4
    assert reading.more == [True, True, True, False]
    assert not reading.counters.more_in_hand


async def test_only_what_has_come_is_asked_about_its_room() -> None:
    reading = Reading(Client(_answer(HERE, 1)), max_bytes=10_000_000)
    asked: list[TopicPartition] = []
    has_room = reading.intake.has_room

    def look(name: TopicPartition) -> bool:
        asked.append(name)
        return has_room(name)

    reading.intake.has_room = look  # type: ignore[method-assign]

    await reading.run(1.0)

    assert reading.sent == [(HERE, 0)]
    assert set(asked) == {HERE}
    # nothing to take is asked for all the same: the client learns so that it is in use
    assert reading.client.asked[0] == {HERE}
    assert reading.client.asked.count(set()) > 5


async def test_what_comes_for_a_partition_that_is_not_assigned_stays_with_the_client() -> None:
    elsewhere = TopicPartition("elsewhere", 0)
    reading = Reading(Client(_answer(elsewhere, 1), _answer(HERE, 1)), max_bytes=10_000_000)

    await reading.run(1.0)

    assert reading.sent == [(HERE, 0)]
    assert {HERE} in reading.client.asked
    assert not any(elsewhere in asked for asked in reading.client.asked)


async def test_what_there_is_no_room_for_is_not_in_hand() -> None:
    reading = Reading(Client(_answer(HERE, 10)), max_bytes=2_000_000)

    await reading.run(1.0)

    assert 0 < len(reading.sent) < 10
    assert not reading.counters.more_in_hand


async def test_a_stalled_partition_keeps_its_rest_undecoded_and_the_others_are_read() -> None:
    full, other = _answer(HERE, 10), _answer(THERE, 1)
    reading = Reading(Client(full, other), max_bytes=2_000_000)

    await reading.run(5.0)

    decoded = [stored.decoded for stored in full.batches]  # type: ignore[attr-defined]
    assert decoded.count(True) <= 3
    assert (THERE, 0) in reading.sent


async def test_what_was_kept_of_an_earlier_assignment_is_not_sent() -> None:
    reading = Reading(Client(_answer(HERE, 10)), max_bytes=2_000_000)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(reading.run(5.0))
        await asyncio.sleep(1.0)
        before = list(reading.sent)
        reading.held[HERE].epoch = 2
        size_bytes = len(before) * STORED_BYTES
        reading.budget.give_back(HERE, records=len(before), size_bytes=size_bytes)

    assert 0 < len(before) < 10
    assert reading.sent == before


class Rebalanced(Reading):
    """While the first answer waits to be sent on, the other's partition is lost and assigned."""

    async def _send(self, batch: Any, inbox: Any) -> None:
        there = self.held[THERE]
        if there.epoch == 1:
            there.epoch, there.phase = 2, Phase.PREPARING
        await super()._send(batch, inbox)

    async def _prepare(self, client: Any) -> None:
        await super()._prepare(client)
        self.held[THERE].phase = Phase.RUNNING  # and somewhere else than before


async def test_an_answer_that_waited_behind_another_through_a_rebalance_is_not_sent() -> None:
    reading = Rebalanced(Client(_answer(HERE, 1), _answer(THERE, 1)), max_bytes=2_000_000)

    await reading.run(5.0)

    assert reading.sent == [(HERE, 0)]


async def test_what_found_no_room_goes_on_as_soon_as_a_batch_of_its_partition_is_done() -> None:
    reading = Reading(Client(_answer(HERE, 5)), max_bytes=2_000_000)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reading.run(10.0))
        await asyncio.sleep(2.35 * POLL_WAIT_S)  # it waits, and no answer will come
        sent = len(reading.sent)
        reading.done(HERE)
        await asyncio.sleep(POLL_WAIT_S / 10)
        running.cancel()

    assert 0 < sent < 5
    assert len(reading.sent) == sent + 1


async def test_batches_of_other_partitions_do_not_wake_it() -> None:
    client = Client(_answer(HERE, 5))
    reading = Reading(client, max_bytes=2_000_000)

    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(reading.run(10.0))
        await asyncio.sleep(2.35 * POLL_WAIT_S)
        looks = len(client.asked)
        for _ in range(10):
            reading.budget.take(THERE, records=1, size_bytes=1)
            reading.done(THERE, size_bytes=1)
            await asyncio.sleep(POLL_WAIT_S / 100)
        running.cancel()

    assert len(client.asked) == looks


async def test_state_is_hastened_while_there_is_no_room() -> None:
    reading = Reading(Client(_answer(HERE, 2)), max_bytes=10_000_000)
    await reading.run(1.0)
    assert reading.hastened == 0

    full = Reading(Client(_answer(HERE, 3), _answer(THERE, 1)), max_bytes=2_000_000)
    await full.run(1.0)
    assert (HERE, 2) not in full.sent
    assert full.hastened > 0

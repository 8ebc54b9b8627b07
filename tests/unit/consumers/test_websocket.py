"""Producers over WebSocket: what reaches the pipeline, and what they are told."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.channels import Overflow, Receiver, channel
from service.consumers.websocket import WebSocketSource
from service.events import RecordBatch
from service.peer import CloseCode
from tests.edge.fakes import FakePeer


class Ingest:
    def __init__(
        self, source: WebSocketSource, inbox: Receiver[RecordBatch], peer: FakePeer
    ) -> None:
        self.source = source
        self.inbox = inbox
        self.peer = peer

    async def answers(self) -> list[dict[str, Any]]:
        await asyncio.sleep(1)
        return self.peer.heard()


@asynccontextmanager
async def ingesting(
    capacity: int = 10,
    overflow: Overflow = Overflow.WAIT,
    peer: FakePeer | None = None,
    key_field: str | None = None,
) -> AsyncIterator[Ingest]:
    sender, inbox = channel[RecordBatch](capacity, overflow=overflow)
    source = WebSocketSource("websocket", key_field)
    ingest = Ingest(source, inbox, peer or FakePeer())
    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(source.run(sender))
            serving = tasks.create_task(source.serve(ingest.peer))
            await asyncio.sleep(0)  # lets both begin
            yield ingest
            source.stop_intake()
            serving.cancel()
            running.cancel()


def values(batch: RecordBatch) -> list[bytes | None]:
    return [record.value for record in batch.records]


async def test_one_message_is_one_event_as_it_was_sent() -> None:
    async with ingesting() as ingest:
        ingest.peer.say('{"n": 18446744073709551617,  "x": 1.10}')
        batch = await ingest.inbox.recv()
        batch.ack(0)
        answers = await ingest.answers()

    assert values(batch) == [b'{"n": 18446744073709551617,  "x": 1.10}']
    assert answers == []


async def test_an_array_is_one_batch() -> None:
    async with ingesting() as ingest:
        ingest.peer.say('[{"n":1}, {"n":2}]')
        batch = await ingest.inbox.recv()
        batch.ack_many([0, 1])

    assert values(batch) == [b'{"n":1}', b'{"n":2}']


async def test_a_field_of_the_events_becomes_their_key() -> None:
    async with ingesting(key_field="order.id") as ingest:
        ingest.peer.say(
            [{"id": 1, "event": {"order": {"id": "a"}}}, {"order": {"id": 7}}, {"n": 1}]
        )
        ingest.peer.say("no JSON")
        batches = [await ingest.inbox.recv() for _ in range(2)]

    assert [record.key for batch in batches for record in batch.records] == [b"a", b"7", None, None]


async def test_an_envelope_is_acknowledged_once_its_event_is_durable() -> None:
    async with ingesting() as ingest:
        ingest.peer.say({"id": "a-1", "event": {"n": 1}})
        batch = await ingest.inbox.recv()
        before = await ingest.answers()
        batch.ack(0)
        after = await ingest.answers()

    assert values(batch) == [b'{"n":1}']
    assert before == []
    assert after == [{"type": "ack", "id": "a-1"}]


async def test_the_trace_context_of_an_envelope_becomes_the_records_headers() -> None:
    async with ingesting() as ingest:
        ingest.peer.say([{"id": 1, "event": 1, "traceparent": "00-ab-cd-01"}, {"n": 2}])
        batch = await ingest.inbox.recv()
        batch.ack_many([0, 1])

    assert [list(record.headers) for record in batch.records] == [
        [("traceparent", b"00-ab-cd-01")],
        [],
    ]


async def test_an_event_with_several_effects_is_acknowledged_after_the_last() -> None:
    async with ingesting() as ingest:
        ingest.peer.say({"id": 1, "event": {}})
        batch = await ingest.inbox.recv()
        batch.hold(0)
        batch.ack(0)
        before = await ingest.answers()
        batch.ack(0)
        after = await ingest.answers()

    assert (before, after) == ([], [{"type": "ack", "id": 1}])


async def test_a_dead_lettered_event_is_acknowledged_as_such() -> None:
    async with ingesting() as ingest:
        ingest.peer.say([{"id": 1, "event": 7}, {"id": 2, "event": {}}])
        batch = await ingest.inbox.recv()
        batch.dead_lettered(0)
        batch.ack_many([0, 1])
        answers = await ingest.answers()

    assert answers == [{"type": "ack", "id": 1, "dead_letter": True}, {"type": "ack", "id": 2}]


async def test_each_event_of_a_batch_is_acknowledged_by_itself_and_once() -> None:
    async with ingesting() as ingest:
        ingest.peer.say([{"id": n, "event": {}} for n in range(3)])
        batch = await ingest.inbox.recv()
        batch.ack(2)
        first = await ingest.answers()
        batch.ack(2)
        batch.ack_many([0, 1])
        answers = await ingest.answers()

    assert first == [{"type": "ack", "id": 2}]
    assert [answer["id"] for answer in answers] == [2, 0, 1]


async def test_acknowledgements_of_one_tick_are_written_at_once() -> None:
    async with ingesting() as ingest:
        ingest.peer.say([{"id": n, "event": {}} for n in range(100)])
        batch = await ingest.inbox.recv()
        for index in range(100):
            batch.ack(index)
        answers = await ingest.answers()

    assert len(answers) == 100
    assert len(ingest.peer.raw) == 1


async def test_a_full_channel_stops_the_reading() -> None:
    async with ingesting(capacity=2) as ingest:
        for n in range(5):
            ingest.peer.say({"id": n, "event": {"n": n}})
        await asyncio.sleep(1)
        unread = ingest.peer.incoming.qsize()
        batches = [await ingest.inbox.recv() for _ in range(5)]
        for batch in batches:
            batch.ack(0)
        answers = await ingest.answers()

    assert unread == 2, "two are in the channel and one waits for a slot"
    assert [answer["id"] for answer in answers] == [0, 1, 2, 3, 4]


async def test_a_full_channel_that_rejects_answers_overloaded() -> None:
    async with ingesting(capacity=1, overflow=Overflow.REJECT) as ingest:
        ingest.peer.say({"id": 1, "event": {}})
        ingest.peer.say([{"id": 2, "event": {}}, {"id": 3, "event": {}}])
        ingest.peer.say({"plain": "event"})
        answers = await ingest.answers()
        (await ingest.inbox.recv()).ack(0)

    assert [(a["type"], a["id"], a["code"], a["retryable"]) for a in answers] == [
        ("error", 2, "overloaded", True),
        ("error", 3, "overloaded", True),
        ("error", None, "overloaded", True),
    ]


@pytest.mark.parametrize("overflow", [Overflow.DROP_NEWEST, Overflow.DROP_OLDEST])
async def test_an_event_that_the_channel_drops_is_not_waited_for(overflow: Overflow) -> None:
    async with ingesting(capacity=1, overflow=overflow) as ingest:
        for n in (1, 2):
            ingest.peer.say({"id": n, "event": {}})
        answers = await ingest.answers()
        (await ingest.inbox.recv()).ack(0)

    [answer] = answers
    dropped = 2 if overflow is Overflow.DROP_NEWEST else 1
    assert (answer["id"], answer["code"], answer["retryable"]) == (dropped, "dropped", True)


async def test_after_the_end_of_intake_events_are_refused_and_accepted_ones_still_answered() -> (
    None
):
    async with ingesting() as ingest:
        ingest.peer.say({"id": 1, "event": {}})
        batch = await ingest.inbox.recv()
        ingest.source.stop_intake()
        ingest.peer.say({"id": 2, "event": {}})
        refused = await ingest.answers()
        batch.ack(0)
        await ingest.source.close(1.0)
        answers = ingest.peer.heard()

    assert [(a["type"], a["id"], a["code"]) for a in refused] == [("error", 2, "unavailable")]
    assert answers[-1] == {"type": "ack", "id": 1}


async def test_the_last_answers_are_all_written_as_the_socket_takes_them() -> None:
    async with ingesting(capacity=10_000) as ingest:
        ids = [f"{number:0100}" for number in range(2000)]  # more than is written at once
        ingest.peer.say([{"id": id_, "event": {}} for id_ in ids])
        batch = await ingest.inbox.recv()
        ingest.source.stop_intake()
        ingest.peer.stuck = True
        batch.ack_many(range(len(ids)))
        asyncio.get_running_loop().call_later(0.5, ingest.peer.unstick)

        await ingest.source.close(5.0)
        ingest.peer.close_soon(CloseCode.RESTART, "restarting")

    assert [answer["id"] for answer in ingest.peer.heard("ack")] == ids


async def test_a_producer_that_takes_no_answers_is_waited_for_until_the_deadline() -> None:
    loop = asyncio.get_running_loop()
    async with ingesting() as ingest:
        ingest.peer.say({"id": 1, "event": {}})
        batch = await ingest.inbox.recv()
        ingest.peer.stuck = True
        batch.ack(0)
        began_s = loop.time()

        await ingest.source.close(5.0)

        assert loop.time() - began_s == 5.0


async def test_a_message_that_waits_for_a_slot_when_intake_ends_is_still_taken() -> None:
    async with ingesting(capacity=1) as ingest:
        for n in (1, 2):
            ingest.peer.say({"id": n, "event": {}})
        await asyncio.sleep(1)
        ingest.source.stop_intake()
        batches = [batch async for batch in ingest.inbox]
        for batch in batches:
            batch.ack(0)
        answers = await ingest.answers()

    assert [answer["id"] for answer in answers] == [1, 2]


async def test_events_of_a_connection_have_places_of_their_own_in_order() -> None:
    async with ingesting() as ingest:
        ingest.peer.say([{"n": 1}, {"n": 2}])
        ingest.peer.say({"n": 3})
        first = await ingest.inbox.recv()
        second = await ingest.inbox.recv()
        first.ack_many([0, 1])
        second.ack(0)

    offsets = [record.offset for batch in (first, second) for record in batch.records]
    assert offsets == [offsets[0], offsets[0] + 1, offsets[0] + 2]
    assert first.partition == second.partition
    assert first.topic == "websocket"


async def test_an_id_that_is_too_long_closes_the_connection() -> None:
    async with ingesting() as ingest:
        ingest.peer.say({"id": "x" * 300, "event": {}})
        await asyncio.sleep(1)

    assert ingest.peer.closed is not None
    assert ingest.peer.closed[0] == 4400


class WatchedPeer(FakePeer):
    """Counts how often its socket is looked at."""

    looks = 0

    @property
    def writable(self) -> bool:
        self.looks += 1
        return super().writable


async def test_the_socket_of_a_producer_that_left_what_it_sent_to_a_full_channel_is_let_alone() -> (
    None
):
    peer = WatchedPeer()
    async with ingesting(capacity=1, peer=peer) as ingest:
        for n in range(3):
            peer.say({"id": n, "event": {}})
        batch = await ingest.inbox.recv()
        await asyncio.sleep(1)  # one is in the channel by now, and one waits for a slot
        peer.close_soon(CloseCode.RESTART, "gone")
        batch.ack(0)
        await asyncio.sleep(60)
        rest = [await ingest.inbox.recv() for _ in range(2)]
        for batch in rest:
            batch.ack(0)

    assert peer.looks < 10

"""Much at once for one client that reads: it is served in portions and not cut for it."""

import asyncio

import orjson
import pytest
from websockets.asyncio.client import ClientConnection

from tests.edge.serving import Edge, serving

pytestmark = pytest.mark.real_loops


async def resumed(client: ClientConnection, subscriptions: int, events: int) -> list[int]:
    """How many events of each subscription came, until all of them have."""
    for number in range(subscriptions):
        where = {"field": "n", "gte": -number}
        request = {"type": "subscribe", "id": number, "topic": "alerts", "from": "earliest"}
        await client.send(orjson.dumps({**request, "where": where}).decode())
    counts = [0] * subscriptions
    async with asyncio.timeout(20):
        while min(counts) < events:
            message = orjson.loads(await client.recv())
            if message["type"] == "events":
                counts[message["id"]] += len(message["events"])
    return counts


async def test_a_dashboard_of_many_subscriptions_resumes_over_one_connection() -> None:
    async with serving() as edge:
        for n in range(1000):
            edge.log.append("alerts", {"n": n, "padding": "x" * 1000})
        async with edge.connect() as client:
            counts = await resumed(client, 16, 1000)

    assert counts == [1000] * 16


async def test_an_event_that_is_larger_than_what_may_wait_for_a_socket_is_passed() -> None:
    async with serving() as edge:
        for n in range(2):
            edge.log.append("alerts", {"n": n, "padding": "x" * 900_000})
        async with edge.connect(max_size=None) as client:
            counts = await resumed(client, 2, 2)

    assert counts == [2, 2]


async def answered(edge: Edge, messages: int, each: int) -> int:
    """Send ``messages`` of ``each`` events, acknowledge all within a moment, count the answers."""
    async with edge.connect("/ingest/logs") as client:
        for first in range(0, messages * each, each):
            events = [{"id": f"{n:036}", "event": n} for n in range(first, first + each)]
            await client.send(orjson.dumps(events).decode())
        batches = [await edge.inbox.recv() for _ in range(messages)]
        for number, batch in enumerate(batches, 1):
            batch.ack_many(range(each))
            if number % 25 == 0:
                await asyncio.sleep(0.004)  # the next produce request's acknowledgement
        del batch, batches
        count = 0
        async with asyncio.timeout(20):
            while count < messages * each:
                await client.recv()
                count += 1
        return count


async def test_what_is_acknowledged_in_a_moment_after_a_pause_is_answered() -> None:
    async with serving(capacity=100_000) as edge:
        assert await answered(edge, messages=100, each=200) == 20_000


async def test_refusals_of_many_small_events_reach_a_producer_that_reads() -> None:
    async with serving() as edge, edge.connect("/ingest/logs") as client:
        edge.source.stop_intake()
        events = [{"id": n, "event": n} for n in range(2000)]
        message = orjson.dumps(events).decode()
        codes: list[str] = []
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(_send(client, message, 10))
            while len(codes) < 20_000:
                codes.append(orjson.loads(await client.recv())["code"])

    assert set(codes) == {"unavailable"}


async def _send(client: ClientConnection, message: str, times: int) -> None:
    for _ in range(times):
        await client.send(message)


async def test_what_piled_up_while_the_pipeline_was_full_is_not_taken_for_a_flood() -> None:
    settings = {"max_messages_per_s": 100}
    async with (
        serving(settings=settings, capacity=1) as edge,
        edge.connect("/ingest/logs") as client,
    ):
        for n in range(150):
            await client.send(f'{{"n":{n}}}')
        await asyncio.sleep(1)  # so long nothing is read, and they were sent within their rate
        async with asyncio.timeout(10):
            taken = [(await edge.inbox.recv()).records[0].value for _ in range(150)]

    assert taken == [b'{"n":%d}' % n for n in range(150)]

"""Dashboards over real sockets and the in-memory log."""

import asyncio
import contextlib
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from service.server.server import SUPERVISE_INTERVAL_S
from tests.edge.serving import Edge, serving

pytestmark = pytest.mark.real_loops


async def say(client: ClientConnection, message: Any) -> None:
    await client.send(orjson.dumps(message).decode())


async def hear(client: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(5):
        message: dict[str, Any] = orjson.loads(await client.recv())
    return message


async def closed(client: ClientConnection) -> tuple[int, str]:
    async with asyncio.timeout(5):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await client.recv()
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


async def subscribe(client: ClientConnection, **request: Any) -> dict[str, Any]:
    await say(client, {"type": "subscribe", "id": 1, "topic": "alerts", **request})
    return await hear(client)


async def test_events_arrive_as_the_protocol_says() -> None:
    async with serving() as edge, edge.connect(subprotocols=["headrace.v1"]) as client:
        answer = await subscribe(client)
        edge.log.append("alerts", {"level": "ERROR"}, key=b"web-1")
        events = await hear(client)

    assert client.subprotocol == "headrace.v1"
    assert answer == {"type": "subscribed", "id": 1, "positions": {"0": 0, "1": 0}}
    assert events == {
        "type": "events",
        "id": 1,
        "events": [
            {
                "partition": 0,
                "offset": 0,
                "timestamp": 1000,
                "key": "web-1",
                "value": {"level": "ERROR"},
            }
        ],
        "next": {"0": 1, "1": 0},
    }


async def test_a_filter_runs_on_the_server() -> None:
    async with serving() as edge, edge.connect() as client:
        await subscribe(client, where={"field": "level", "in": ["ERROR"]})
        for level in ("INFO", "ERROR", "WARN", "ERROR"):
            edge.log.append("alerts", {"level": level})
        events = await hear(client)

    assert [event["offset"] for event in events["events"]] == [1, 3]


async def test_every_kind_of_start_is_served() -> None:
    async with serving() as edge:
        for n in range(10):
            edge.log.append("alerts", {"n": n})
        starts: dict[str, Any] = {
            "earliest": "earliest",
            "timestamp": {"timestamp": 1006},
            "offsets": {"offsets": {"0": 8, "1": 0}},
        }
        firsts = {}
        for name, start in starts.items():
            async with edge.connect() as client:
                await subscribe(client, **{"from": start})
                firsts[name] = (await hear(client))["events"][0]["offset"]

    assert firsts == {"earliest": 0, "timestamp": 6, "offsets": 8}


async def test_unsubscribe_ends_the_events() -> None:
    async with serving() as edge, edge.connect() as client:
        await subscribe(client)
        await say(client, {"type": "unsubscribe", "id": 1})
        answer = await hear(client)
        edge.log.append("alerts", {"n": 1})
        await say(client, {"type": "ping", "id": "after"})
        pong = await hear(client)

    assert answer == {"type": "unsubscribed", "id": 1}
    assert pong == {"type": "pong", "id": "after"}


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"topic": "forbidden.topic"}, "forbidden"),
        ({"topic": "*"}, "forbidden"),
        ({"topic": "../alerts"}, "forbidden"),
        ({"topic": 7}, "bad_request"),
        ({"from": "yesterday"}, "bad_request"),
        ({"from": {"offsets": {"0": -1}}}, "bad_request"),
        ({"from": {"offsets": {"0": 2**63}}}, "bad_request"),
        ({"from": {"offsets": {"-1": 1}}}, "bad_request"),
        ({"from": {"timestamp": "now"}}, "bad_request"),
        ({"where": {"expression": "]["}}, "bad_request"),
        ({"overflow": "grow"}, "bad_request"),
        ({"form": "latest"}, "bad_request"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wish_that_cannot_be_served_is_an_error_and_not_the_end(
    request_: dict[str, Any], code: str
) -> None:
    async with serving() as edge, edge.connect() as client:
        refused = await subscribe(client, **request_)
        accepted = await subscribe(client)

    assert (refused["type"], refused["id"], refused["code"]) == ("error", 1, code)
    assert refused["retryable"] is False
    assert accepted["type"] == "subscribed"


@pytest.mark.parametrize(
    "message", ["", "{", "[]", '{"type":"shout"}', '"hello"', "\u0000"], ids=repr
)
async def test_what_is_no_message_of_the_protocol_closes_with_4400(message: str) -> None:
    async with serving() as edge, edge.connect() as client:
        await client.send(message)
        code, _ = await closed(client)

    assert code == 4400


async def test_subscriptions_are_limited() -> None:
    async with serving(settings={"max_subscriptions": 2}) as edge, edge.connect() as client:
        answers = [await subscribe(client, id=n) for n in range(3)]

    assert [answer["type"] for answer in answers] == ["subscribed", "subscribed", "error"]
    assert answers[2]["code"] == "too_many"


async def test_a_flood_of_messages_closes_with_4429() -> None:
    async with serving(settings={"max_messages_per_s": 20}) as edge, edge.connect() as client:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(1000):
                await say(client, {"type": "ping"})
        code, _ = await closed(client)

    assert code == 4429


async def resume(edge: Edge, positions: dict[str, int]) -> list[int]:
    async with edge.connect() as client:
        await subscribe(client, **{"from": {"offsets": positions}})
        return [event["offset"] for event in (await hear(client))["events"]]


async def test_a_client_that_was_cut_off_resumes_without_a_hole() -> None:
    async with serving() as edge:
        async with edge.connect() as client:
            await subscribe(client)
            for n in range(3):
                edge.log.append("alerts", {"n": n})
            before = await hear(client)
            client.transport.abort()
        for n in range(3, 6):
            edge.log.append("alerts", {"n": n})
        after = await resume(edge, before["next"])

    assert [event["offset"] for event in before["events"]] + after == [0, 1, 2, 3, 4, 5]


async def test_a_producer_that_waits_for_answers_is_sent_away_after_the_last_of_them() -> None:
    async with (
        serving() as edge,
        edge.connect("/ingest/logs") as producer,
        edge.connect("/ingest/logs") as idle,
        edge.connect() as dashboard,
    ):
        await say(producer, [{"id": 1, "event": {}}, {"id": 2, "event": {}}, {"n": 3}])
        batch = await edge.inbox.recv()
        edge.source.stop_intake()
        edge.server.dismiss()
        codes = [(await closed(client))[0] for client in (idle, dashboard)]
        await say(producer, {"id": 3, "event": {}})
        refused = await hear(producer)
        batch.ack(0)
        answers = [await hear(producer)]
        await asyncio.sleep(2 * SUPERVISE_INTERVAL_S)
        batch.ack_many([1, 2])
        answers.append(await hear(producer))
        codes.append((await closed(producer))[0])

    assert (refused["id"], refused["code"]) == (3, "unavailable")
    assert answers == [{"type": "ack", "id": 1}, {"type": "ack", "id": 2}]
    assert codes == [1012, 1012, 1012]


async def test_every_client_is_told_1012_at_the_end_in_time_even_with_a_stuck_one() -> None:
    loop = asyncio.get_running_loop()
    async with serving() as edge:
        stuck = await asyncio.open_connection("127.0.0.1", edge.port)
        stuck[1].write(
            b"GET /subscribe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (await stuck[0].readline()).startswith(b"HTTP/1.1 101")
        clients = [await edge.connect() for _ in range(20)]
        began_s = loop.time()
        await edge.server.stop(3.0)
        took_s = loop.time() - began_s
        codes = {(await closed(client))[0] for client in clients}
        stuck[1].close()

    assert codes == {1012}
    assert took_s < 3.0
    assert edge.server.connections == 0

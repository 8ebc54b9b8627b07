"""The source that reads somebody else's feed, against feeds that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve

from service.channels import Receiver, channel
from service.consumers.websocket_client import WebSocketClientSource
from service.delivery.backoff import Backoff
from service.events import RecordBatch
from service.settings import WebSocketClientSourceSettings

pytestmark = pytest.mark.real_loops

Serve = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def reading(
    feed: Serve, *, capacity: int = 100, **settings: Any
) -> AsyncIterator[tuple[WebSocketClientSource, Receiver[RecordBatch]]]:
    sender, inbox = channel[RecordBatch](capacity)
    async with serve(feed, "127.0.0.1", 0, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        source = WebSocketClientSource(
            "feed",
            WebSocketClientSourceSettings.model_validate(
                {
                    "url": f"ws://127.0.0.1:{port}/v1?all=1",
                    "reconnect_initial_s": 0.05,
                    "reconnect_max_s": 0.2,
                    **settings,
                }
            ),
        )
        with inbox:
            async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
                tasks.create_task(source.run(sender))
                yield source, inbox
                source.stop_intake()


async def records(inbox: Receiver[RecordBatch], count: int) -> list[tuple[bytes | None, Any]]:
    found: list[tuple[bytes | None, Any]] = []
    while len(found) < count:
        batch = await inbox.recv()
        found += [(record.key, record.value) for record in batch.records]
    return found


async def test_it_says_hello_and_reads_events_and_arrays() -> None:
    heard: list[Any] = []

    async def feed(client: ServerConnection) -> None:
        assert client.request is not None
        heard.append((client.request.path, client.request.headers["X-Team"]))
        heard.extend([await client.recv(), await client.recv()])
        await client.send('{"symbol":"A","seq":1}')
        await client.send('[{"symbol":"B","seq":2},{"seq":3}]')
        await client.send("not json")
        await client.wait_closed()

    settings: dict[str, Any] = {
        "headers": {"X-Team": "edge"},
        "subscribe": ["hello", {"op": "subscribe"}],
        "key_field": "symbol",
    }
    async with reading(feed, **settings) as (_, inbox):
        found = await records(inbox, 4)

    assert heard == [("/v1?all=1", "edge"), "hello", '{"op":"subscribe"}']
    assert found == [
        (b"A", b'{"symbol":"A","seq":1}'),
        (b"B", b'{"symbol":"B","seq":2}'),
        (None, b'{"seq":3}'),
        (None, b"not json"),
    ]


async def test_what_is_nested_too_deep_to_be_cut_up_is_one_event_and_not_the_end() -> None:
    deep = "[" * 20_000 + "]" * 20_000

    async def feed(client: ServerConnection) -> None:
        await client.send(deep)
        await client.send('{"n":1}')
        await client.wait_closed()

    async with reading(feed) as (_, inbox):
        found = await records(inbox, 2)

    assert [value for _, value in found] == [deep.encode(), b'{"n":1}']


async def test_an_event_whose_key_is_nested_too_deep_has_none() -> None:
    deep = '{"symbol":' + "[" * 500 + "]" * 500 + "}"

    async def feed(client: ServerConnection) -> None:
        await client.send(deep)
        await client.send('{"symbol":"A"}')
        await client.wait_closed()

    async with reading(feed, key_field="symbol", resume_field="symbol") as (_, inbox):
        found = await records(inbox, 2)

    assert found == [(None, deep.encode()), (b"A", b'{"symbol":"A"}')]


async def test_it_reconnects_and_resumes_after_the_last_event() -> None:
    paths: list[str] = []

    async def feed(client: ServerConnection) -> None:
        assert client.request is not None
        paths.append(client.request.path)
        n = len(paths)
        await client.send(f'{{"seq":"{n}"}}')
        await asyncio.sleep(0.05)
        client.transport.abort()

    async with reading(feed, resume_field="seq") as (_, inbox):
        found = await records(inbox, 3)

    assert [value for _, value in found] == [b'{"seq":"1"}', b'{"seq":"2"}', b'{"seq":"3"}']
    assert paths[:3] == ["/v1?all=1", "/v1?all=1&resume=1", "/v1?all=1&resume=2"]


async def test_a_feed_that_goes_silent_is_connected_anew() -> None:
    connections = 0

    async def feed(client: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        await client.send('{"n":1}')
        await client.wait_closed()

    async with reading(feed, silence_timeout_s=0.3) as (_, inbox):
        await records(inbox, 3)

    assert connections >= 3


async def test_a_full_pipeline_is_not_taken_for_a_silent_feed() -> None:
    connections = 0

    async def feed(client: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        for n in range(50):
            await client.send(f'{{"n":{n}}}')
        while True:
            await asyncio.sleep(0.1)
            await client.send('{"n":-1}')

    async with reading(feed, capacity=1, silence_timeout_s=0.4, ping_interval_s=0.2) as (_, inbox):
        await asyncio.sleep(1.5)
        found = await records(inbox, 50)

    assert [value for _, value in found] == [b'{"n":%d}' % n for n in range(50)]
    assert connections == 1


@pytest.mark.parametrize(
    "location",
    [
        "Location: ws://127.0.0.1:99999/",
        "Location: ws://[::/",
        f"Location: ws://{'x' * 70}.example/",
        "Location: /a\r\nLocation: /b",
        "Location: https://example.com/",
    ],
    ids=["port", "address", "name", "two", "no-websocket"],
)
async def test_a_feed_that_sends_us_nowhere_is_waited_for(location: str) -> None:
    asked = 0
    again = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 302 Found\r\n{location}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()
        asked += 1
        if asked == 2:
            again.set()

    sender, inbox = channel[RecordBatch](10)
    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = WebSocketClientSource(
        "feed",
        WebSocketClientSourceSettings.model_validate(
            {"url": f"ws://127.0.0.1:{port}/", "reconnect_initial_s": 0.05}
        ),
    )
    with inbox:
        async with server, asyncio.TaskGroup() as tasks, asyncio.timeout(10):
            tasks.create_task(source.run(sender))
            await again.wait()
            source.stop_intake()

    assert asked >= 2


@pytest.mark.parametrize(
    "proxy",
    ["socks5h://127.0.0.1:1", "socks://127.0.0.1:1", "http://127.0.0.1:1/x"],
    ids=["socks", "no-scheme-of-proxies", "path"],
)
async def test_a_proxy_that_cannot_be_used_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    for name in ("ws_proxy", "WS_PROXY"):
        monkeypatch.setenv(name, proxy)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    lost = asyncio.Event()

    def next_s(_backoff: Backoff) -> float:
        lost.set()
        return 0.01

    monkeypatch.setattr(Backoff, "next_s", next_s)
    sender, inbox = channel[RecordBatch](10)
    source = WebSocketClientSource(
        "feed", WebSocketClientSourceSettings.model_validate({"url": "ws://feed.example/"})
    )

    with inbox:
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
            tasks.create_task(source.run(sender))
            await lost.wait()
            source.stop_intake()


async def test_a_token_that_cannot_be_sent_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("s3cret\ns3cret too")
    lost = asyncio.Event()

    def next_s(_backoff: Backoff) -> float:
        lost.set()
        return 0.01

    async def feed(client: ServerConnection) -> None:
        await client.wait_closed()

    monkeypatch.setattr(Backoff, "next_s", next_s)
    with capture_logs() as logs:
        async with reading(feed, token_file=str(file)):
            await lost.wait()

    assert "s3cret" not in str(logs)
    assert "Authorization" in logs[0]["reason"]


async def test_a_feed_that_is_not_there_is_waited_for() -> None:
    sender, inbox = channel[RecordBatch](10)
    source = WebSocketClientSource(
        "feed",
        WebSocketClientSourceSettings.model_validate(
            {"url": "ws://127.0.0.1:1/", "reconnect_initial_s": 0.05, "reconnect_max_s": 0.1}
        ),
    )
    with inbox:
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(source.run(sender))
            await asyncio.sleep(0.5)
            alive = not running.done()
            source.stop_intake()

    assert alive

"""Clients that do what no client should, from raw sockets: each costs only itself."""

import asyncio
import os
import random
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import orjson
import pytest

from benchmarks.edge.clients import masked
from tests.edge.serving import Edge, serving

pytestmark = pytest.mark.real_loops

UPGRADE = (
    b"GET /subscribe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)


class Raw:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def close_code(self, timeout_s: float = 8.0) -> int | None:
        """Read to the end; the code of the close frame, or None if there was none."""
        async with asyncio.timeout(timeout_s):
            try:
                data = await self.reader.read(-1)
            except ConnectionResetError:
                return None
        at = data.rfind(b"\x88")
        return int.from_bytes(data[at + 2 : at + 4]) if at >= 0 else None


@asynccontextmanager
async def raw(edge: Edge, *, upgrade: bool = True, limit: int = 2**16) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=limit)
    try:
        if upgrade:
            writer.write(UPGRADE + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 101"), head
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


FRAMES = {
    "2 GiB announced": (b"\x81\xff" + (2**31).to_bytes(8) + bytes(4), 1009),
    "above the limit": (masked(0x81, b"x" * 70_000), 1009),
    "unmasked": (b"\x81\x02hi", 1002),
    "bad UTF-8": (masked(0x81, b"\xff\xfe"), 1007),
    "reserved opcode": (masked(0x83, b""), 1002),
    "reserved bit": (masked(0xC1, b"hi"), 1002),
    "long ping": (masked(0x89, b"x" * 126), 1002),
    "fragmented ping": (masked(0x09, b"x"), 1002),
    "continuation of nothing": (masked(0x80, b"x"), 1002),
    "compressed though not agreed": (masked(0xC1, zlib.compress(b"0" * 10**6)), 1002),
    "endless fragments": (masked(0x01, b"x") + masked(0x00, b"x" * 1000) * 100, 1009),
    "close with a bad code": (masked(0x88, b"\x00\x01"), 1002),
}


@pytest.mark.parametrize("name", FRAMES)
async def test_a_bad_frame_closes_its_connection_with_the_right_code(name: str) -> None:
    frame, code = FRAMES[name]
    async with serving() as edge, raw(edge) as client:
        client.writer.write(frame)

        assert await client.close_code() == code


async def test_half_a_frame_and_then_nothing_is_cut_by_its_missing_pong() -> None:
    async with serving(settings={"write_timeout_s": 2.0}) as edge, raw(edge) as client:
        client.writer.write(masked(0x81, b'{"type":"subscribe","id":1,"topic":"alerts"}'))
        await asyncio.sleep(0.2)
        client.writer.write(b"\x81\xfe\x10")
        edge.log.append("alerts", {"n": 1})

        assert await client.close_code() == 4408


@pytest.mark.parametrize(
    "sent", [b"", b"GET /subscribe HT", UPGRADE], ids=["silent", "half-line", "half-head"]
)
async def test_a_handshake_that_does_not_end_is_cut_after_five_seconds(sent: bytes) -> None:
    loop = asyncio.get_running_loop()
    async with serving() as edge, raw(edge, upgrade=False) as client:
        began_s = loop.time()
        client.writer.write(sent)
        await client.close_code()
        took_s = loop.time() - began_s

    assert 4.0 < took_s < 6.5


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (UPGRADE + b"X: " + b"y" * 9000 + b"\r\n\r\n", b"431"),
        (UPGRADE + b"X: y\r\n" * 300 + b"\r\n", b"431"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"POST /ingest/logs HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
    ],
    ids=["long-header", "many-headers", "long-path", "tls-hello", "body", "chunked-body"],
)
async def test_an_absurd_request_is_refused(head: bytes, status: bytes) -> None:
    async with serving() as edge, raw(edge, upgrade=False) as client:
        client.writer.write(head)
        async with asyncio.timeout(6):
            answer = await client.reader.read(-1)

    assert answer[9:12] == status


async def test_a_client_that_never_reads_is_cut_within_five_seconds_and_others_get_all() -> None:
    loop = asyncio.get_running_loop()
    async with serving() as edge, raw(edge, limit=1024) as stuck, edge.connect() as good:
        request = {"type": "subscribe", "id": 1, "topic": "alerts"}
        stuck.writer.write(masked(0x81, orjson.dumps(request)))
        await good.send(orjson.dumps(request).decode())
        await good.recv()
        began_s = loop.time()
        gone_s = None
        offsets: list[int] = []
        for n in range(70):
            edge.log.append("alerts", {"n": n, "padding": "x" * 2000})
            offsets += [e["offset"] for e in orjson.loads(await good.recv())["events"]]
            if gone_s is None and edge.hub.counters.disconnected_slow:
                gone_s = loop.time() - began_s
            await asyncio.sleep(0.1)

    assert gone_s is not None
    assert gone_s <= 5.5
    assert offsets == list(range(70))


@pytest.mark.parametrize("last", [b"", masked(0x88, b"\x03\xe8")], ids=["nothing", "close"])
async def test_a_client_that_ends_its_side_and_reads_nothing_does_not_stay(last: bytes) -> None:
    async with serving() as edge, raw(edge, limit=1024) as client:
        for n in range(2):
            edge.log.append("alerts", {"n": n, "padding": "x" * 900_000})
        request = {"type": "subscribe", "id": 1, "topic": "alerts", "from": "earliest"}
        client.writer.write(masked(0x81, orjson.dumps(request)))
        [connection] = edge.server._registry.connections
        async with asyncio.timeout(5):
            while not connection.transport.get_write_buffer_size():
                await asyncio.sleep(0.01)  # no event tells that the socket takes no more
        client.writer.write(last)
        client.writer.write_eof()
        async with asyncio.timeout(4):
            await edge.server._registry.empty()

    assert edge.server._admission is not None
    assert edge.server._admission._limits.open == 0


async def test_a_client_that_reads_one_byte_at_a_time_is_cut() -> None:
    async with serving() as edge, raw(edge, limit=1024) as client:
        client.writer.write(
            masked(0x81, orjson.dumps({"type": "subscribe", "id": 1, "topic": "alerts"}))
        )
        cut = False
        for n in range(80):
            edge.log.append("alerts", {"n": n, "padding": "x" * 30_000})
            with_one_byte = asyncio.timeout(0.1)
            try:
                async with with_one_byte:
                    await client.reader.read(1)
            except TimeoutError:
                pass
            await asyncio.sleep(0.1)
            cut = edge.hub.counters.disconnected_slow > 0
            if cut:
                break

    assert cut


async def test_pings_whose_answers_are_not_read_do_not_fill_the_memory() -> None:
    async with serving() as edge, raw(edge, limit=1024) as client:
        ping = masked(0x89, b"x" * 125) * 500
        cut = False
        for _ in range(400):
            client.writer.write(ping)
            try:
                async with asyncio.timeout(0.5):
                    await client.writer.drain()
            except TimeoutError:
                pass
            except ConnectionError:
                cut = True
                break
            [*connections] = edge.server._registry.connections
            unsent = [c.transport.get_write_buffer_size() for c in connections]
            assert all(size < 2**20 for size in unsent)
            if not connections:
                cut = True
                break

    assert cut


async def test_a_thousand_idle_sockets_do_not_get_past_the_limit() -> None:
    async with serving(settings={"max_connections": 20}) as edge:
        sockets = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(300)]
        await asyncio.sleep(0.5)
        open_now = edge.server.connections
        for _, writer in sockets:
            writer.transport.abort()

    assert open_now <= 70


@pytest.mark.parametrize("seed", range(6))
async def test_random_frames_never_break_the_server(seed: int) -> None:
    rng = random.Random(seed)
    words = [b"subscribe", b"alerts", b"id", b"from", b"offsets", b"{", b"}", b"[", b"\xff", b"1"]
    async with serving() as edge:
        for _ in range(40):
            async with raw(edge) as client:
                for _ in range(rng.randint(1, 8)):
                    body = b"".join(rng.choice(words) for _ in range(rng.randint(0, 20)))
                    if rng.random() < 0.5:
                        body = orjson.dumps(
                            {
                                "type": rng.choice(["subscribe", "unsubscribe", "ping", 7, None]),
                                "id": rng.choice([1, "a", None, [], 1.5, True, "x" * 500]),
                                "topic": rng.choice(["alerts", "", 1, None, "*"]),
                                "from": rng.choice(["latest", {}, {"offsets": {"0": 2**62}}]),
                                "where": rng.choice([None, 1, {}, {"expression": "a[" * 50}]),
                            }
                        )
                    frame = bytearray(masked(rng.choice([0x81, 0x82, 0x01, 0x80, 0x8A]), body))
                    if rng.random() < 0.3:
                        frame[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
                    client.writer.write(bytes(frame[: rng.randint(1, len(frame))]))
                if rng.random() < 0.5:
                    client.writer.write(os.urandom(50))
                await asyncio.sleep(0)  # lets the server look at it
        async with edge.connect() as client:
            await client.send('{"type":"subscribe","id":1,"topic":"alerts"}')
            answer = orjson.loads(await client.recv())

    assert answer["type"] == "subscribed"

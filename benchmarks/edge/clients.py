"""Bare WebSocket clients: a thousand of them cost the generator less than the server.

They do the opening handshake, count and stamp frames, answer pings, and nothing else.
"""

import asyncio
import os
from collections.abc import Callable
from typing import cast


class Client(asyncio.Protocol):
    """One connection; ``on_frame`` gets each text payload.

    Args:
        path: What to open.
        hello: Text to send once open.
        on_frame: Called with each payload.
    """

    def __init__(self, path: str, hello: bytes, on_frame: Callable[[bytes], None]) -> None:
        self._path = path
        self._hello = hello
        self._on_frame = on_frame
        self._buffer = bytearray()
        loop = asyncio.get_running_loop()
        self.opened: asyncio.Future[None] = loop.create_future()
        self.close_code: int | None = None
        self.closed_at_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self.transport.write(
            f"GET {self._path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.opened.done():
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self.opened.set_exception(ConnectionError(head[:40].decode()))
                self.transport.abort()
                return
            self._buffer = bytearray(rest)
            if self._hello:
                self.send(self._hello)
            self.opened.set_result(None)
        self._frames()

    def _frames(self) -> None:
        buffer = self._buffer
        at = 0
        while len(buffer) - at >= 2:
            opcode, length, start = buffer[at] & 0x0F, buffer[at + 1] & 0x7F, at + 2
            if length > 125:
                width = 2 if length == 126 else 8
                if len(buffer) < start + width:
                    break
                length = int.from_bytes(buffer[start : start + width])
                start += width
            if len(buffer) < start + length:
                break
            payload = bytes(buffer[start : start + length])
            at = start + length
            if opcode == 1:
                self._on_frame(payload)
            elif opcode == 9:
                self.transport.write(masked(0x8A, payload))
            elif opcode == 8:
                self.close_code = int.from_bytes(payload[:2])
                self.transport.write(masked(0x88, payload[:2]))
        del buffer[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed_at_s = asyncio.get_running_loop().time()
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("closed in the handshake"))

    def send(self, payload: bytes) -> None:
        self.transport.write(masked(0x81, payload))


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame; masked with zeros, which is legal and costs nothing."""
    length = len(payload)
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = bytes((first, 0x80 | 126)) + length.to_bytes(2)
    else:
        header = bytes((first, 0x80 | 127)) + length.to_bytes(8)
    return header + bytes(4) + payload


async def open_clients(
    count: int, port: int, path: str, hello: bytes, on_frame: Callable[[bytes], None]
) -> list[Client]:
    """Open ``count`` connections, fifty at a time."""
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    while len(clients) < count:
        batch = [
            (
                await loop.create_connection(
                    lambda: Client(path, hello, on_frame), "127.0.0.1", port
                )
            )[1]
            for _ in range(min(50, count - len(clients)))
        ]
        await asyncio.gather(*(client.opened for client in batch))
        clients += batch
    return clients


def raise_file_limit() -> None:
    import resource  # noqa: PLC0415 -- beside its only use

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    os.environ.setdefault("PYTHONUNBUFFERED", "1")

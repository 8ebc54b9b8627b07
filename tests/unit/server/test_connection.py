"""What the connection takes from the library beyond its promises."""

import inspect
from itertools import pairwise

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import InvalidMessage
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol
from websockets.server import ServerProtocol

from service.peer import text_frame
from service.server.connection import between_frames

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def opened() -> ServerProtocol:
    protocol = ServerProtocol()
    protocol.receive_data(UPGRADE)
    [request] = protocol.events_received()
    protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
    return protocol


def test_the_names_that_are_overridden_or_read_still_exist() -> None:
    for name in ("process_event", "data_received", "connection_made", "connection_lost"):
        assert callable(getattr(ServerConnection, name))
    for name in ("send_data", "drain", "recv"):
        assert callable(getattr(ServerConnection, name))
    assert list(inspect.signature(ServerConnection.process_event).parameters) == ["self", "event"]
    assert list(inspect.signature(Protocol.send_close).parameters) == ["self", "code", "reason"]
    assert list(inspect.signature(Protocol.send_ping).parameters) == ["self", "data"]


def test_the_library_tells_what_is_no_request_from_one_that_did_not_come() -> None:
    causes: list[type[object]] = []
    for received in (b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", b"GET / HT"):
        protocol = ServerProtocol()
        protocol.receive_data(received)
        protocol.receive_eof()
        assert isinstance(protocol.handshake_exc, InvalidMessage)
        causes.append(type(protocol.handshake_exc.__cause__))

    assert causes == [ValueError, EOFError]


def test_our_text_frames_are_the_librarys() -> None:
    for length in (0, 1, 125, 126, 127, 65_535, 65_536, 70_000):
        payload = b"x" * length

        assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(
            mask=False, extensions=[]
        )


@pytest.mark.parametrize(
    "frame",
    [
        Frame(Opcode.PONG, b""),
        Frame(Opcode.TEXT, b"hello"),
        Frame(Opcode.TEXT, b"begun", fin=False),
        Frame(Opcode.BINARY, b"x" * 200),
        Frame(Opcode.BINARY, b"x" * 70_000),
    ],
    ids=["pong", "text", "fragment", "two-byte-length", "eight-byte-length"],
)
def test_only_the_end_of_a_frame_is_between_frames(frame: Frame) -> None:
    protocol = opened()
    sent = frame.serialize(mask=True, extensions=[])
    cuts = [*range(min(len(sent) - 1, 20)), len(sent) - 1, len(sent)]
    *within, last = [sent[start:end] for start, end in pairwise(cuts) if start < end]

    before = between_frames(protocol)
    inside: list[bool] = []
    for part in within:
        protocol.receive_data(part)
        inside.append(between_frames(protocol))
    protocol.receive_data(last)

    assert before
    assert not any(inside)
    assert between_frames(protocol)


def test_an_unfinished_handshake_is_not_between_frames() -> None:
    protocol = ServerProtocol()

    protocol.receive_data(UPGRADE[:40])

    assert not between_frames(protocol)

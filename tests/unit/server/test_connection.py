"""What the connection takes from the library beyond its promises."""

import inspect

from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol

from service.peer import text_frame


def test_the_names_that_are_overridden_or_read_still_exist() -> None:
    for name in ("process_event", "data_received", "connection_made", "connection_lost"):
        assert callable(getattr(ServerConnection, name))
    for name in ("send_data", "drain", "recv"):
        assert callable(getattr(ServerConnection, name))
    assert list(inspect.signature(ServerConnection.process_event).parameters) == ["self", "event"]
    assert list(inspect.signature(Protocol.send_close).parameters) == ["self", "code", "reason"]
    assert list(inspect.signature(Protocol.send_ping).parameters) == ["self", "data"]


def test_our_text_frames_are_the_librarys() -> None:
    for length in (0, 1, 125, 126, 127, 65_535, 65_536, 70_000):
        payload = b"x" * length

        assert text_frame(payload) == Frame(Opcode.TEXT, payload).serialize(
            mask=False, extensions=[]
        )

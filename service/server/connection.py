"""One WebSocket of the public port: a :class:`~service.peer.Peer` over the library's connection.

The only file that touches what the library does not promise; ``test_connection.py`` pins those
names.  It writes ready-made frames straight to the transport, which is sound because this server
never sends fragmented messages, and it never waits for a socket: :meth:`EdgeConnection.supervise`
is called a few times a second and decides from what it sees.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.frames import Opcode
from websockets.protocol import Event, Protocol, State
from websockets.streams import StreamReader

from service.peer import CloseCode, PeerGoneError
from service.server.limits import TokenBucket
from service.server.liveness import Liveness
from service.server.pages import respond
from service.server.principal import ANYBODY, Principal
from service.settings import ServerSettings

CLOSE_GRACE_S = 1.0
"""How long a peer has to answer a close frame before it is cut."""

MAX_UNSENT_BYTES = 256 * 1024
"""Most bytes that wait for a socket; a peer that lets more pile up is cut.  One write may be larger
if the socket had taken everything before."""

_PING: Final = b"\x89\x00"
"""A ping without a payload (RFC 6455, 5.5.2)."""

_PONG: Final = b"\x8a\x80"
"""How its answer begins; the four bytes of the mask follow, which masks nothing."""
_PONG_BYTES: Final = 6

_NO_REQUEST: Final = respond(
    HTTPStatus.BAD_REQUEST,
    b"only GET without a body; events are sent over a WebSocket\n",
    "text/plain; charset=utf-8",
).serialize()


def between_frames(protocol: Protocol) -> bool:
    """Whether the next byte that ``protocol`` is given begins a frame.

    Its parser is a chain of generators, the innermost of which waits in ``at_eof`` between frames
    and elsewhere within one.
    """
    waiting: Any = protocol.parser
    while (inner := getattr(waiting, "gi_yieldfrom", None)) is not None:
        waiting = inner
    return getattr(waiting, "gi_code", None) is StreamReader.at_eof.__code__


class ConnectionRegistry:
    """Every socket of the server, those in their handshake included.

    Args:
        max_connections: Of the open WebSockets; handshakes may come on top, up to a tenth more.
    """

    def __init__(self, max_connections: int) -> None:
        self.connections: set[EdgeConnection] = set()
        self._empty = asyncio.Event()
        self._max_sockets = max_connections + max(max_connections // 10, 50)

    def add(self, connection: "EdgeConnection") -> bool:
        """Whether there is room for one more socket."""
        self.connections.add(connection)
        self._empty.clear()
        return len(self.connections) <= self._max_sockets

    def discard(self, connection: "EdgeConnection") -> None:
        """``connection`` is gone."""
        self.connections.discard(connection)
        if not self.connections:
            self._empty.set()

    async def empty(self) -> None:
        """Wait until no connection is left."""
        if self.connections:
            await self._empty.wait()


class EdgeConnection(ServerConnection):
    """Adds to the library's connection what bounds it in memory and time.

    Args:
        args: The library's, as ``kwargs``.
        registry: Every socket of the server.
        settings: How long it may take nothing, and how much it may send.
        kwargs: See ``args``.
    """

    transport: asyncio.Transport

    def __init__(
        self, *args: Any, registry: ConnectionRegistry, settings: ServerSettings, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        now_s, rate = self.loop.time(), settings.max_messages_per_s
        self._registry = registry
        self._allowed = TokenBucket(rate, rate, now_s)
        self.give_back: Callable[[], None] | None = None
        """Returns what the connection takes of the limits."""
        self.lost = False
        self._served = False
        self._told_of_request = False
        self.principal: Principal = ANYBODY
        self.token: str | None = None
        self.may_go_on: Callable[[], bool] = lambda: True
        """Whether the principal's rights still cover what the connection has been granted."""
        self.owes: Callable[[EdgeConnection], bool] = lambda connection: False  # noqa: ARG005
        """Whether the client waits for an answer, so that it should not be sent away yet."""
        self.path = ""
        self._unsent_limit = MAX_UNSENT_BYTES
        self.liveness = Liveness(now_s, settings.write_timeout_s)
        self._look_at_s = 0.0
        self._cut_at_s: float | None = None

    # -- Peer ------------------------------------------------------------------------------

    @property
    def writable(self) -> bool:
        """See :attr:`service.peer.Peer.writable`."""
        return self.protocol.state is State.OPEN and not self.transport.get_write_buffer_size()

    @property
    def gone(self) -> bool:
        """See :attr:`service.peer.Peer.gone`."""
        return self.protocol.state is not State.OPEN

    def write(self, frames: bytes) -> None:
        """See :meth:`service.peer.Peer.write`."""
        if self.protocol.state is not State.OPEN or self.transport.is_closing():
            return
        if self.liveness.ping_waits:
            self.liveness.pinged(self.loop.time())
            frames += _PING  # one system call for both
        if not self.transport.get_write_buffer_size():
            # One event can be larger than the bound, and is not divided.  Cut for it, a client
            # would come back to the same event for ever.
            self._unsent_limit = max(MAX_UNSENT_BYTES, len(frames))
        self.transport.write(frames)
        self.liveness.written = True
        self._cut_if_piling_up()

    async def ready(self) -> None:
        """See :meth:`service.peer.Peer.ready`."""
        await self.drain()  # the write limit is 0: this waits until the socket took everything
        if self.protocol.state is not State.OPEN:
            raise PeerGoneError("the connection is closed")

    def close_soon(self, code: CloseCode, reason: str) -> None:
        """See :meth:`service.peer.Peer.close_soon`."""
        if self.protocol.state is not State.OPEN:
            return
        self.protocol.send_close(code, reason)
        self.send_data()
        self._cut_at_s = self.loop.time() + CLOSE_GRACE_S
        self._look_at_s = 0.0

    async def messages(self) -> AsyncIterator[str | bytes]:
        """See :meth:`service.peer.Peer.messages`; too many a second cost the connection.

        What came while the caller was busy, as with a full pipeline, counts for all of that time.
        """
        while True:
            self.liveness.read = True
            try:
                message = await self.recv()
            except ConnectionClosed:
                return
            self.liveness.read = False
            if not self._allowed.take(self.loop.time()):
                self.close_soon(CloseCode.TOO_MANY, "too many messages")
                return
            yield message
            self._allowed.save(self.loop.time())

    # -- supervision -----------------------------------------------------------------------

    def cut(self) -> None:
        """Drop the connection without a word; what is unsent is thrown away."""
        self.transport.abort()

    def supervise(self, now_s: float) -> bool:
        """Ping, and cut who does not answer, does not read or does not close.

        Returns:
            Whether it has just been found too slow.
        """
        if now_s < self._look_at_s:
            return False
        too_slow = self._look(now_s)
        ending = self._cut_at_s is not None
        self._look_at_s = now_s if ending else self.liveness.look_at_s(now_s)
        return too_slow

    def _look(self, now_s: float) -> bool:
        if self._cut_at_s is not None:
            if now_s >= self._cut_at_s:
                self.cut()
            return False
        if self._has_ended():
            self._cut_at_s = now_s + CLOSE_GRACE_S
        if self.protocol.state is not State.OPEN:
            return False
        if self.liveness.too_slow(now_s, unsent=bool(self.transport.get_write_buffer_size())):
            self.close_soon(CloseCode.TOO_SLOW, "too slow; resume with the last next")
            return True
        if self.liveness.ping_due(now_s):
            self.liveness.pinged(now_s)
            self.transport.write(_PING)
        return False

    def _has_ended(self) -> bool:
        """Whether it was open and has only to be taken down.

        A client that ends its side and does not read keeps a closed one: what is unsent waits.
        """
        state = self.protocol.state
        return state is State.CLOSING or (state is State.CLOSED and bool(self.path))

    # -- what it takes of the limits -------------------------------------------------------

    @property
    def address(self) -> str:
        """Where it comes from."""
        remote = self.remote_address
        return str(remote[0]) if remote else ""

    async def serve(self, route: Callable[["EdgeConnection"], Awaitable[None]]) -> None:
        """Run ``route``; the connection counts until it ends, however long the client is gone.

        What a producer has sent still waits for room in the pipeline.  If the connection no longer
        counted, a producer that comes back again and again could fill the memory.
        """
        self._served = True
        try:
            await route(self)
        finally:
            self._served = False
            if self.lost:
                self._give_back()

    def _give_back(self) -> None:
        give_back, self.give_back = self.give_back, None
        if give_back is not None:
            give_back()

    # -- the library's callbacks -----------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse a socket beyond all limits before it costs a handshake."""
        super().connection_made(transport)
        if not self._registry.add(self):
            self.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection took of the limits, unless its route still has work."""
        super().connection_lost(exc)
        self.lost = True
        self._registry.discard(self)
        if not self._served:
            self._give_back()

    def process_event(self, event: Event) -> None:
        """Note signs of life."""
        if getattr(event, "opcode", None) is Opcode.PONG:
            self.liveness.heard(self.loop.time())
        super().process_event(event)

    def data_received(self, data: bytes) -> None:
        """Cut a peer that makes us answer (pings) but does not read the answers."""
        if len(data) == _PONG_BYTES and data.startswith(_PONG) and between_frames(self.protocol):
            # what nearly all clients say nearly always; the library takes longer over it
            self.liveness.heard(self.loop.time())
            return
        super().data_received(data)
        self._cut_if_piling_up()

    def send_data(self) -> None:
        """Answer what is no request, as a POST with a body: the library only ends its side.

        The caller would see an empty answer, and behind a proxy a bad gateway.
        """
        problem = self.protocol.handshake_exc
        if isinstance(problem, InvalidMessage) and not self._told_of_request:
            self._told_of_request = True
            if not isinstance(problem.__cause__, EOFError):
                self.transport.write(_NO_REQUEST)
        super().send_data()

    def _cut_if_piling_up(self) -> None:
        if self.transport.get_write_buffer_size() > self._unsent_limit:
            self.cut()

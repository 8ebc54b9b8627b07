"""The listening socket, and the life of what is connected to it.

Who may connect is :mod:`service.server.admission`'s business, what is said over a connection its
route's.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import structlog
from websockets.asyncio.server import Server, ServerConnection, serve

from service.clock import wall_clock_s
from service.errors import ConfigurationError
from service.metrics import HubCounters
from service.peer import CloseCode
from service.server.admission import Admission, Route, StatusFor, select_subprotocol
from service.server.authentication import Authenticator, RefusedError
from service.server.connection import ConnectionRegistry, EdgeConnection
from service.server.pages import Pages
from service.server.tls import ServerTls
from service.settings import ServerSettings

_log = structlog.get_logger(__name__)

OPEN_TIMEOUT_S = 5.0
"""How long a client has for the TLS and the opening handshake."""

SUPERVISE_INTERVAL_S = 0.25
"""How often connections are looked at; deadlines are honoured to this."""

REFRESH_INTERVAL_S = 1.0
"""How often token and certificate files are looked at."""

SEND_BUFFER_BYTES = 64 * 1024
"""What the kernel holds for a client that does not read; small, so that it shows soon."""

MAX_INCOMING_MESSAGES = 4
"""Messages read ahead of a route that is busy; then the socket is not read."""

LISTEN_BACKLOG = 50
"""Connections accepted in one turn of the loop at most, so that a herd does not hold it up."""


class PublicServer:
    """Serves ``routes`` and the live page on the public port.

    Args:
        settings: Address, limits, tokens.
        routes: What answers on which path.
        status: Makes what ``/api/status`` shows: the same as the admin port's ``/status``.
        topics: Topics that may be watched, and whether each holds dead letters.
        counters: Where clients that were cut for being slow are counted.
        reuse_port: Whether several processes listen on the port.
    """

    def __init__(
        self,
        settings: ServerSettings,
        routes: Mapping[str, Route],
        *,
        status: StatusFor,
        topics: Mapping[str, bool],
        counters: HubCounters,
        reuse_port: bool = False,
    ) -> None:
        self._settings = settings
        self._routes = routes
        self._status = status
        self._topics = topics
        self._counters = counters
        self._reuse_port = reuse_port
        self._authenticator = Authenticator(settings)
        self._registry = ConnectionRegistry(settings.max_connections)
        self._tls: ServerTls | None = None
        self._server: Server | None = None
        self._admission: Admission | None = None
        self._background: list[asyncio.Task[None]] = []
        self._dismissing = False

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen; supervision runs in ``tasks`` until :meth:`stop`.

        Raises:
            ConfigurationError: If a token or certificate file cannot be used, or the address.
        """
        settings = self._settings
        await self._authenticator.load()
        if settings.tls_cert_file is not None and settings.tls_key_file is not None:
            self._tls = ServerTls(settings.tls_cert_file, settings.tls_key_file)
            await self._tls.load()
        pages = await asyncio.to_thread(Pages)
        try:
            self._server = await self._listen()
        except OSError as error:
            raise ConfigurationError([f"server: cannot listen: {error}"]) from error
        self._admission = Admission(
            settings,
            self._routes,
            authenticator=self._authenticator,
            pages=pages,
            status=self._status,
            topics=self._topics,
            port=self.port,
        )
        await self._server.start_serving()
        self._background = [
            tasks.create_task(self._supervise(), name="connection supervision"),
            tasks.create_task(self._refresh(), name="token refresh"),
        ]
        _log.info(
            "public port open",
            url=self.url,
            tls=self._tls is not None,
            tokens="required" if self._authenticator.required else "not required",
        )
        if not self._authenticator.required:
            _log.warning("clients need no token", host=settings.host, anonymous=settings.anonymous)

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        if self._server is None:
            raise RuntimeError("the server is not started")
        address: tuple[Any, ...] = next(iter(self._server.sockets)).getsockname()
        return int(address[1])

    @property
    def url(self) -> str:
        """Where the live page is, once started."""
        scheme = "http" if self._tls is None else "https"
        host = self._settings.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.port}/"

    @property
    def connections(self) -> int:
        """Open sockets, those in their handshake included."""
        return len(self._registry.connections)

    def refuse_new(self) -> None:
        """Take no new connections from now on; the open ones go on."""
        if self._admission is not None:
            self._admission.closed = True

    def dismiss(self) -> None:
        """Stop listening, and tell clients to come back elsewhere (1012).

        Who waits for an answer is told so when it has got it, or by :meth:`stop`.
        """
        self.refuse_new()
        if self._server is not None:
            self._server.close(close_connections=False)
            self._dismissing = True
            for connection in self._registry.connections:
                self._dismiss(connection)

    def _dismiss(self, connection: EdgeConnection) -> None:
        if not connection.owes(connection):
            connection.close_soon(CloseCode.RESTART, "restarting; connect again")

    async def stop(self, deadline_s: float) -> None:
        """Tell every client to come back elsewhere (1012), and end within ``deadline_s``.

        A client that does not answer is cut at the deadline.  Never raises; idempotent.
        """
        self.refuse_new()
        if self._server is None:
            return
        loop = asyncio.get_running_loop()
        cut_at_s = loop.time() + deadline_s * 0.8
        self._server.close(close_connections=False)
        for connection in self._registry.connections:
            connection.close_soon(CloseCode.RESTART, "restarting; connect again")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(cut_at_s):
                await self._registry.empty()
        for connection in list(self._registry.connections):
            connection.cut()
        for task in self._background:
            task.cancel()
        try:
            async with asyncio.timeout(deadline_s * 0.2):
                await self._server.wait_closed()
        except TimeoutError:
            _log.warning("connections were still open at the deadline", count=self.connections)

    # -- listening -------------------------------------------------------------------------

    async def _listen(self) -> Server:
        settings = self._settings
        # not a name of the library's: at INFO it writes two lines per connection
        logger = logging.getLogger(f"{__name__}.websockets")
        logger.setLevel(logging.WARNING)
        server = await serve(
            self._serve,
            settings.host,
            settings.port,
            process_request=self._admit,
            select_subprotocol=select_subprotocol,
            create_connection=cast(
                "type[ServerConnection]",
                partial(EdgeConnection, registry=self._registry, settings=settings),
            ),
            compression=None,
            open_timeout=OPEN_TIMEOUT_S,
            close_timeout=1.0,
            ping_interval=None,
            max_size=settings.max_message_bytes,
            max_queue=MAX_INCOMING_MESSAGES,
            write_limit=0,
            server_header=None,
            logger=logger,
            ssl=None if self._tls is None else self._tls.context,
            backlog=LISTEN_BACKLOG,
            reuse_port=self._reuse_port or None,
            start_serving=False,
        )
        for listener in server.sockets:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        return server

    async def _admit(self, connection: ServerConnection, request: Any) -> Any:
        if self._admission is None or not isinstance(connection, EdgeConnection):
            raise RuntimeError("a connection before the server is started")
        return await self._admission.admit(connection, request)

    async def _serve(self, connection: ServerConnection) -> None:
        if not isinstance(connection, EdgeConnection):
            raise TypeError("not made by this server")
        await connection.serve(self._routes[connection.path].serve)

    # -- supervision -----------------------------------------------------------------------

    async def _supervise(self) -> None:
        loop = asyncio.get_running_loop()
        revision = self._authenticator.revision
        while True:
            await asyncio.sleep(SUPERVISE_INTERVAL_S)
            # read once: another thread may raise it, and a change that nobody sees stays unseen
            seen, revision = revision, self._authenticator.revision
            recheck = seen != revision
            now_s, wall_s = loop.time(), wall_clock_s()
            for connection in list(self._registry.connections):
                if connection.principal.expired(wall_s):
                    connection.close_soon(CloseCode.UNAUTHORIZED, "the token has expired")
                elif recheck:
                    self._recheck(connection)
                if self._dismissing:
                    self._dismiss(connection)
                try:
                    self._counters.disconnected_slow += connection.supervise(now_s)
                except Exception:  # noqa: BLE001 -- one connection's trouble is not the service's
                    _log.exception("connection supervision failed", address=connection.address)
                    connection.cut()

    def _recheck(self, connection: EdgeConnection) -> None:
        """Apply changed token files to a connection that was let in before."""
        if connection.token is None:
            return
        try:
            connection.principal = self._authenticator.identify(connection.token)
        except RefusedError:
            connection.close_soon(CloseCode.UNAUTHORIZED, "the token is no longer valid")
            return
        allowed = self._routes[connection.path].allowed(connection.principal)
        if not allowed or not connection.may_go_on():
            connection.close_soon(CloseCode.FORBIDDEN, "no longer allowed")

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            await self._authenticator.refresh()
            if self._tls is not None:
                await self._tls.refresh()

"""A very small HTTP server in a thread of its own, for probes and scrapes.

It has its own event loop, so a blocked pipeline cannot silence it and its clients cannot slow
the pipeline.  It knows GET and HEAD, one request per connection, and a bounded number of
connections with a deadline each; what the paths mean is in ``service.health.routes``.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

import structlog

from service.errors import ConfigurationError

REQUEST_S = 5.0
"""A client that has not sent its request, or not read the answer, by then is cut."""

MAX_CONNECTIONS = 64
"""Connections at once; more are closed unanswered."""

MAX_HEAD_BYTES = 16 * 1024
"""Longest request head."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer; ``body`` is complete."""

    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"
    body: bytes = b""


Route = Callable[[], Response]


class AdminServer:
    """Serves ``routes`` on a port until closed.

    Args:
        host: Address to bind; an IPv6 address is recognised by its colons.
        port: TCP port; 0 takes a free one.
        routes: What to answer for each path.  Called in the server's thread.
    """

    def __init__(self, host: str, port: int, routes: Mapping[str, Route]) -> None:
        self._address = (host, port)
        self._routes = routes
        self._open = 0
        self._runner = asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)
        self._stopping = asyncio.Event()
        self._thread: threading.Thread | None = None
        self._socket: socket.socket | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._socket is None:
            return self._address[1]
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Listen and answer.

        Raises:
            ConfigurationError: If the address cannot be bound.
        """
        family = socket.AF_INET6 if ":" in self._address[0] else socket.AF_INET
        try:
            self._socket = socket.create_server(
                self._address, family=family, backlog=MAX_CONNECTIONS
            )
        except OSError as error:
            raise ConfigurationError([f"admin: cannot listen: {error}"]) from error
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._run, name="admin-server", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and cut what is open; returns when the thread has ended."""
        if self._thread is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        with self._runner:  # leaving it cancels what is open and closes the loop
            self._runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(
            self._on_client, sock=self._socket, limit=MAX_HEAD_BYTES
        )
        await self._stopping.wait()
        # Not `async with`: leaving it waits for connections, on Python 3.12 and later for ever.
        server.close()

    async def _on_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_S):
                    await self._exchange(reader, writer)
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError):
            pass  # the client's own doing; there is nobody left to tell
        finally:
            self._open -= 1
            # Not close(), which would wait for ever for a client that does not read.  After a
            # complete answer there is nothing left to abort.
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            response, body_wanted = _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True
        else:
            response, body_wanted = self._answer(head)
        writer.write(_head(response))
        if body_wanted:
            writer.write(response.body)
        writer.close()
        await writer.wait_closed()  # until the kernel has taken all of it

    def _answer(self, head: bytes) -> tuple[Response, bool]:
        """The response to a request head, and whether its body is sent."""
        method, _, rest = head.partition(b" ")
        target, _, version = rest.partition(b"\r\n")[0].partition(b" ")
        if not version.startswith(b"HTTP/1."):
            return _error(HTTPStatus.BAD_REQUEST), True
        if method not in {b"GET", b"HEAD"}:
            return _error(HTTPStatus.METHOD_NOT_ALLOWED), True
        route = self._routes.get(target.partition(b"?")[0].decode("latin-1"))
        if route is None:
            return _error(HTTPStatus.NOT_FOUND), method == b"GET"
        return _call(route), method == b"GET"


def _call(route: Route) -> Response:
    try:
        return route()
    except Exception:  # noqa: BLE001 -- one path that fails must not take the probes with it
        _log.exception("admin request failed")
        return _error(HTTPStatus.INTERNAL_SERVER_ERROR)


def _error(status: HTTPStatus) -> Response:
    return Response(status=status, body=f"{status.phrase}\n".encode())


def _head(response: Response) -> bytes:
    allow = "Allow: GET, HEAD\r\n" if response.status is HTTPStatus.METHOD_NOT_ALLOWED else ""
    return (
        f"HTTP/1.1 {response.status.value} {response.status.phrase}\r\n"
        f"Content-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n"
        f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    ).encode("latin-1")

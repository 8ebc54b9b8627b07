"""The opening handshake: who gets in, and what everybody else is told.

A handshake passes, in this order: method, path, origin, token, permission, pace, limits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, TypeAlias

import orjson
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from service.server.authentication import Authenticator, RefusedError, find_token
from service.server.connection import EdgeConnection
from service.server.limits import ConnectionLimits, TokenBucket
from service.server.origins import OriginPolicy
from service.server.pages import Pages, respond
from service.server.principal import Principal, keys_shown_to
from service.settings import ServerSettings
from service.settings.access import is_loopback

SUBPROTOCOL = "headrace.v1"

HANDSHAKES_PER_S = 500
"""Pace of handshakes: what a herd of clients that all come back at once may take of the loop."""

HANDSHAKE_BURST = 100

MAX_PACE_WAIT_S = 3.0
"""Longest wait for one's turn; whoever would wait longer is told to come back."""

StatusFor: TypeAlias = Callable[[Callable[[str], bool]], Awaitable[Mapping[str, Any]]]
"""Makes the status document for somebody who may know the keys of some topics' records, and not of
others'."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Route:
    """What answers on a path.

    Attributes:
        serve: Runs for as long as the connection lasts.
        allowed: Whether a principal may open it.
    """

    serve: Callable[[EdgeConnection], Awaitable[None]]
    allowed: Callable[[Principal], bool]


class Admission:
    """Decides about every request on the public port.

    Args:
        settings: Origins and limits.
        routes: WebSocket paths.
        authenticator: Knows tokens.
        pages: Static files.
        status: Makes what ``/api/status`` shows.
        topics: Topics that may be watched, and whether each holds dead letters.
        port: The port that is listened on.
    """

    def __init__(
        self,
        settings: ServerSettings,
        routes: Mapping[str, Route],
        *,
        authenticator: Authenticator,
        pages: Pages,
        status: StatusFor,
        topics: Mapping[str, bool],
        port: int,
    ) -> None:
        self._routes = routes
        self._authenticator = authenticator
        self._pages = pages
        self._status = status
        self._topics = topics
        self._loopback = is_loopback(settings.host)
        self._origins = OriginPolicy(
            settings.allowed_origins,
            scheme="http" if settings.tls_cert_file is None else "https",
            port=port,
            loopback=self._loopback,
            tokens=authenticator.required,
        )
        self._limits = ConnectionLimits(
            total=settings.max_connections,
            per_principal=settings.max_connections_per_principal,
            per_address=settings.max_connections_per_address,
        )
        now_s = asyncio.get_running_loop().time()
        self._pace = TokenBucket(HANDSHAKES_PER_S, HANDSHAKE_BURST, now_s)
        self.closed = False
        """Whether nobody new is let in."""

    async def admit(self, connection: EdgeConnection, request: Request) -> Response | None:
        """Answer ``request``; ``None`` lets it become a WebSocket."""
        try:
            return await self._admit(connection, request)
        except RefusedError as error:
            return refusal(error.status, str(error))

    async def _admit(self, connection: EdgeConnection, request: Request) -> Response | None:
        if request.method != "GET":
            response = refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET")
            response.headers["Allow"] = "GET"
            return response
        path = request.path.partition("?")[0]
        page = self._pages.respond(path, one(request.headers, "If-None-Match"))
        if page is not None:
            return page
        if path == "/api/status":
            principal, _ = self._identify(request)
            shown = keys_shown_to(principal, watched=self._topics, loopback=self._loopback)
            return _json(await self._status(shown))
        if path == "/api/topics":
            principal, _ = self._identify(request)
            return _json({"topics": self._topics_of(principal)})
        route = self._routes.get(path)
        if route is None:
            raise RefusedError(HTTPStatus.NOT_FOUND, "no such path")
        await self._open(connection, request, route)
        connection.path = path
        return None

    async def _open(self, connection: EdgeConnection, request: Request, route: Route) -> None:
        if self.closed:
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "shutting down")
        principal, token = self._identify_for(route, request)
        wait_s = self._pace.take_in(connection.loop.time())
        if wait_s > MAX_PACE_WAIT_S:
            self._pace.give_back()
            raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many at once; come back")
        if wait_s:
            await asyncio.sleep(wait_s)
            if connection.lost or self.closed:
                # nobody would give back what a client that has gone meanwhile is counted for
                raise RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too late")
            # revoked meanwhile, a token would be looked at again only when its file changes again
            principal, token = self._identify_for(route, request)
        address = connection.address
        problem = self._limits.acquire(principal.name, address)
        if problem is not None:
            raise RefusedError(HTTPStatus.TOO_MANY_REQUESTS, problem)
        connection.give_back = lambda: self._limits.release(principal.name, address)
        connection.principal = principal
        connection.token = token

    def _identify_for(self, route: Route, request: Request) -> tuple[Principal, str | None]:
        principal, token = self._identify(request)
        if not route.allowed(principal):
            raise RefusedError(HTTPStatus.FORBIDDEN, "not allowed for this token")
        return principal, token

    def _topics_of(self, principal: Principal) -> list[dict[str, Any]]:
        return [
            {"name": name, "dead_letter": dead_letter}
            for name, dead_letter in self._topics.items()
            if principal.may_read(name)
        ]

    def _identify(self, request: Request) -> tuple[Principal, str | None]:
        """Check where the request comes from and whose it is."""
        headers = request.headers
        origins = headers.get_all("Origin")
        if len(origins) > 1:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "more than one Origin")
        host = one(headers, "Host")
        if not self._origins.allows(origins, host) or not self._origins.allows_host(host):
            raise RefusedError(HTTPStatus.FORBIDDEN, "this origin is not allowed")
        token: str | None = None
        if self._authenticator.required:  # else what is there is for a proxy in front
            token = find_token(headers.get_all("Authorization"), offered(headers))
        return self._authenticator.identify(token), token


def _json(document: Mapping[str, Any]) -> Response:
    return respond(HTTPStatus.OK, orjson.dumps(document), "application/json")


def one(headers: Headers, name: str) -> str | None:
    """The only value of a header.

    Raises:
        RefusedError: 400 if it is there twice.
    """
    values = headers.get_all(name)
    if len(values) > 1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"more than one {name}")
    return values[0] if values else None


def offered(headers: Headers) -> list[str]:
    """The subprotocols that a client offers."""
    values = headers.get_all("Sec-WebSocket-Protocol")
    return [part.strip() for value in values for part in value.split(",")]


def select_subprotocol(
    connection: ServerConnection, subprotocols: Sequence[Subprotocol]
) -> Subprotocol | None:
    """Ours if it is offered, else none; never the one that carries a token."""
    del connection
    name = Subprotocol(SUBPROTOCOL)
    return name if name in subprotocols else None


def refusal(status: int, reason: str) -> Response:
    """An HTTP answer that refuses a request."""
    response = respond(HTTPStatus(status), f"{reason}\n".encode(), _TEXT)
    if status == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS}:
        response.headers["Retry-After"] = "5"
    return response

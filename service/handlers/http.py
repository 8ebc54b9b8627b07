"""What the handlers that speak HTTP share: the session, and what an answer means.

An answer is a fact about the peer, not about the event: busy or broken peers are worth another
try after as long as they ask for, anything else that is no success is not.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

from pydantic import AfterValidator

from service.errors import PermanentError, TransientError
from service.retry_after import retry_after_s

if TYPE_CHECKING:
    import aiohttp

CLIENT_KEY: Final = "http"
"""Under which handlers share the session."""

CONNECTIONS: Final = 100
"""Connections of a process to all peers."""

_WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})
_SUCCESS: Final = range(200, 300)
_SERVER_ERRORS: Final = range(500, 600)

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token (RFC 9110, 5.6.2)."""
_NO_HEADER: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header's value holds; the end of a line would begin another header."""


def _checked_headers(headers: dict[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a header")
        if _NO_HEADER.search(value):
            raise ValueError(f"{name}: the end of a line, or a control character, in its value")
    return headers


RequestHeaders: TypeAlias = Annotated[dict[str, str], AfterValidator(_checked_headers)]
"""Headers of the configuration, which every request has."""


@asynccontextmanager
async def open_session() -> "AsyncGenerator[aiohttp.ClientSession]":
    """A session for `HandlerContext.client`; it keeps no cookies."""
    import aiohttp  # noqa: PLC0415 -- an extra, of which the rest has no need

    connector = aiohttp.TCPConnector(limit=CONNECTIONS)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield session


def check_status(status: int, headers: Mapping[str, str]) -> None:
    """Return if ``status`` is a success.

    Raises:
        TransientError: If the peer is busy or broken; with the wait that it asks for.
        PermanentError: If it refuses the request.
    """
    if status in _SUCCESS:
        return
    if status in _WORTH_ANOTHER_TRY or status in _SERVER_ERRORS:
        raise TransientError(f"status {status}", retry_after_s=retry_after_s(headers))
    raise PermanentError(f"status {status}")

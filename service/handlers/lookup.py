"""What a service that is asked over HTTP knows by key; it is asked once for each, for a while.

Imported only where one is configured: the client is an extra.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from service.errors import PermanentError, TransientError
from service.handlers.enrich import HttpLookup
from service.handlers.http import check_status

ANSWER_MAX_BYTES = 1024 * 1024
"""Largest answer of a lookup that is read: no topic takes more by default."""

CACHE_MAX_BYTES = 16 * 1024 * 1024
"""Most that is remembered, keys and answers as they come: 10,000 of 1 MiB would be 10 GiB."""

_NOTHING_KNOWN = frozenset((204, 404))
"""No content, and not found."""
_NO_KEYS = frozenset(("", ".", ".."))
"""What a path leaves out or goes up by: the question would be about something else."""


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    async for piece in content.iter_any():
        body += piece
        if len(body) > ANSWER_MAX_BYTES:
            raise PermanentError(f"the lookup answers more than {ANSWER_MAX_BYTES} bytes")
    return bytes(body)


class _Question(asyncio.Event):
    """Set when it is answered, or nobody asks any more.

    Attributes:
        answer: What is known, in a tuple, if there was an answer.
    """

    answer: tuple[Any] | None = None


class RemoteTable:
    """What somebody who is asked knows, with a cache; that nothing is known is remembered too.

    Calls for a key that is being asked for wait for that answer instead of asking again.

    Args:
        ask: What is known of a key, or ``None``, and how many bytes it takes.
        ttl_s: How long an answer is believed.
        max_keys: Most answers that are remembered; those that were given longest ago leave.
    """

    def __init__(
        self, ask: Callable[[str], Awaitable[tuple[Any, int]]], *, ttl_s: float, max_keys: int
    ) -> None:
        self._ask = ask
        self._ttl_s = ttl_s
        self._max_keys = max_keys
        self._cache: OrderedDict[str, tuple[float, Any, int]] = OrderedDict()
        self._cached_bytes = 0
        self._asking: dict[str, _Question] = {}

    async def get(self, key: str) -> Any:
        """What is known about ``key``, or ``None``.

        Cancel safety: a cancelled call leaves the question to the next one that waits.

        Raises:
            Exception: What asking raised; the next call asks again.
        """
        if key in _NO_KEYS:
            return None
        loop = asyncio.get_running_loop()
        while True:
            known = self._cache.get(key)
            if known is not None and known[0] > loop.time():
                return known[1]
            question = self._asking.get(key)
            if question is None:
                break
            await question.wait()
            if question.answer is not None:  # whether or not it is believed for longer
                return question.answer[0]
        question = self._asking[key] = _Question()
        try:
            found, size_bytes = await self._ask(key)
            self._remember(key, found, size_bytes + len(key), loop.time())
            question.answer = (found,)
            return found
        finally:
            del self._asking[key]
            question.set()

    def _remember(self, key: str, found: Any, size_bytes: int, now_s: float) -> None:
        known = self._cache.pop(key, None)
        self._cached_bytes += size_bytes - (0 if known is None else known[2])
        self._cache[key] = (now_s + self._ttl_s, found, size_bytes)
        while len(self._cache) > self._max_keys or self._cached_bytes > CACHE_MAX_BYTES:
            self._cached_bytes -= self._cache.popitem(last=False)[1][2]


class HttpPeer:
    """A service that is asked over HTTP.

    Args:
        session: Shared with others.
        options: Whom to ask, and how.
    """

    def __init__(self, session: aiohttp.ClientSession, options: HttpLookup) -> None:
        self._session = session
        self._options = options
        self._timeout = aiohttp.ClientTimeout(total=options.request_timeout_s)

    async def ask(self, key: str) -> tuple[Any, int]:
        """What it knows of ``key``, or ``None`` (404, 204), and how many bytes that came in.

        Raises:
            TransientError: If the peer is busy, broken or away.
            PermanentError: If it refuses the request or answers no JSON.
        """
        url = self._options.url.replace("{key}", quote(key, safe=""))
        try:
            async with self._session.get(
                url, headers=self._options.headers, timeout=self._timeout, allow_redirects=False
            ) as answer:
                if answer.status in _NOTHING_KNOWN:
                    return None, 0
                check_status(answer.status, answer.headers)
                body = await _read(answer.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise TransientError(f"no answer: {type(error).__name__}") from error
        try:
            return orjson.loads(body), len(body)
        except orjson.JSONDecodeError:
            raise PermanentError("the lookup answers no JSON") from None

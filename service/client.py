"""A small client of ``/subscribe``: reconnects, resumes, and says what is missing.

For scripts, tests and other services; it needs nothing of the rest of the package but the
WebSocket library.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

SUBPROTOCOL: Final = "headrace.v1"
FATAL_CLOSES: Final = frozenset((1009, 4400, 4401, 4403))
FATAL_STATUSES: Final = frozenset((400, 401, 403, 404))

_log = logging.getLogger(__name__)


class SubscriptionError(Exception):
    """The server will not serve this subscription, now or later.

    Args:
        code: The server's code, or the HTTP status or close code as text.
        message: What it said.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class _ComeBackError(Exception):
    """The server cannot serve this subscription now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Events in order of arrival.

    Attributes:
        events: Each with ``partition``, ``offset``, ``timestamp``, ``key`` and ``value``.
        dropped: Events that were lost before these; ``None`` when nothing was, and 0 when it is
            not known how many.
        position: Where to go on after these: pass it as ``start``.
    """

    events: Sequence[Mapping[str, Any]] = ()
    dropped: int | None = None
    position: Mapping[str, int] = field(default_factory=dict[str, int])


async def subscribe(
    url: str,
    topic: str,
    *,
    start: str | Mapping[str, Any] = "latest",
    where: Mapping[str, Any] | None = None,
    overflow: str | None = None,
    token: str | None = None,
    max_delay_s: float = 15.0,
) -> AsyncGenerator[Batch]:
    """Watch ``topic`` for as long as the caller iterates, through lost connections.

    Why it has to connect again is logged as a warning of ``service.client``.

    Args:
        url: ``ws://`` or ``wss://`` address of ``/subscribe``.
        topic: Its name.
        start: ``latest``, ``earliest``, ``{"timestamp": ms}`` or ``{"offsets": {...}}``.
        where: Filter that runs on the server.
        overflow: What happens when this client is slow; the server's default if not given.
        token: Bearer token; white space around it, as of a file's last line, is left out.
        max_delay_s: Longest wait between two attempts to connect.

    Raises:
        SubscriptionError: If the server refuses for good.
        ValueError: If no header can hold ``token``.
    """
    request = {"type": "subscribe", "id": 1, "topic": topic}
    request |= {} if where is None else {"where": where}
    request |= {} if overflow is None else {"overflow": overflow}
    headers = {} if token is None else _authorization(token)
    delay_s = 0.25
    while True:
        reason = "closed"
        try:
            async with connect(
                url,
                subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]  # a NewType of str
                additional_headers=headers,
                compression=None,
                max_size=None,
            ) as socket:
                await socket.send(orjson.dumps({**request, "from": start}).decode())
                async for batch in _batches(socket):
                    delay_s = 0.25
                    if batch.position:
                        start = {"offsets": dict(batch.position)}
                    if batch.events or batch.dropped is not None:
                        yield batch
        except ConnectionClosed as error:
            if error.rcvd is not None and error.rcvd.code in FATAL_CLOSES:
                raise SubscriptionError(str(error.rcvd.code), error.rcvd.reason) from error
            reason = str(error)
        except InvalidStatus as error:
            if error.response.status_code in FATAL_STATUSES:
                phrase = error.response.reason_phrase
                raise SubscriptionError(str(error.response.status_code), phrase) from error
            reason = str(error)
        except (_ComeBackError, InvalidHandshake, OSError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
        wait_s = random.uniform(delay_s / 2, delay_s)  # noqa: S311 -- jitter
        _log.warning("%s: %s; trying again in %.1f s", url, reason, wait_s)
        await asyncio.sleep(wait_s)
        delay_s = min(delay_s * 2, max_delay_s)


def _authorization(token: str) -> dict[str, str]:
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        # not left to the library, whose error repeats it
        raise ValueError("token: has characters that no header can hold")
    return {"Authorization": f"Bearer {token}"}


async def _batches(socket: ClientConnection) -> AsyncIterator[Batch]:
    """What the server says until it closes.

    Raises:
        SubscriptionError: If it refuses for good.
        _ComeBackError: If it does so for now.
    """
    while True:
        message = orjson.loads(await socket.recv(decode=False))
        match message["type"]:
            case "subscribed":
                yield Batch(position=message["positions"])
            case "events":
                yield Batch(events=message["events"], position=message["next"])
            case "gap":
                yield Batch(dropped=message["dropped"], position=message["next"])
            case "error" if message["retryable"]:
                raise _ComeBackError(message["message"])
            case "error":
                raise SubscriptionError(message["code"], message["message"])
            case _:
                pass

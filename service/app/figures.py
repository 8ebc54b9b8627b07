"""The figures that the live page gets: of this process, or of all workers of its parent.

Each request may reach another worker.  A page that was shown the figures of one worker and then
those of the next would draw lines through both.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson

from service.app.worker import Worker
from service.errors import ServiceError
from service.health.document import without_keys

ASK_INTERVAL_S: Final = 0.5
"""How old an answer of the parent may be: it asks every worker, and pages ask each second."""

ASK_TIMEOUT_S: Final = 3.0
"""How long the parent is waited for; it waits up to two seconds for a worker."""

_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 -- an address to ask, not bound


class NoAnswerError(ServiceError):
    """The parent has not answered, or something else."""


class PageFigures:
    """Makes the status document for the live page.

    Args:
        own: The document of this process.
        of_all: Asks for that of all workers; ``None`` in a process of its own.  Raises
            :exc:`NoAnswerError`; the page then gets the figures of this process.
    """

    def __init__(
        self,
        own: Callable[[], Mapping[str, Any]],
        *,
        of_all: Callable[[], Awaitable[Mapping[str, Any]]] | None = None,
    ) -> None:
        self._own = own
        self._of_all = of_all
        self._asking = asyncio.Lock()
        self._answer: Mapping[str, Any] | None = None
        self._asked_at_s = float("-inf")

    async def __call__(self, keys_shown: Callable[[str], bool]) -> Mapping[str, Any]:
        """The document, without the keys of topics that are not shown."""
        document = None if self._of_all is None else await self._merged(self._of_all)
        return without_keys(self._own() if document is None else document, keys_shown)

    async def _merged(
        self, of_all: Callable[[], Awaitable[Mapping[str, Any]]]
    ) -> Mapping[str, Any] | None:
        """What the parent says, asked once for all pages; ``None`` if it says nothing."""
        loop = asyncio.get_running_loop()
        async with self._asking:
            if loop.time() - self._asked_at_s >= ASK_INTERVAL_S:
                self._answer = None
                with contextlib.suppress(NoAnswerError):
                    self._answer = await of_all()
                self._asked_at_s = loop.time()
            return self._answer


async def ask_parent(host: str, worker: Worker) -> Mapping[str, Any]:
    """The status document of all workers.

    Args:
        host: Where admin ports listen.
        worker: Whose parent is asked.

    Raises:
        NoAnswerError: If it does not give one in time.
    """
    try:
        async with asyncio.timeout(ASK_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                _EVERYWHERE.get(host, host), worker.parent_port
            )
            try:
                writer.write(
                    b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                )
                answer = await reader.read()
            finally:
                writer.transport.abort()
        head, _, body = answer.partition(b"\r\n\r\n")
        document: Mapping[str, Any] = orjson.loads(body)
    except (OSError, TimeoutError, orjson.JSONDecodeError) as error:
        raise NoAnswerError(f"no figures of all workers: {error!r}") from error
    if not head.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200")):
        raise NoAnswerError(f"no figures of all workers: {head[:20]!r}")
    return document

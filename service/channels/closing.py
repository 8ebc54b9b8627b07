"""What every end of a channel does at the end of a ``with`` block, and when it is forgotten."""

import asyncio
import warnings
from abc import abstractmethod
from collections.abc import Callable
from typing import Self

from service.channels.blocking import running_loop


class Closing:
    """An end of a channel as a context manager, plain or asynchronous; ending it never waits."""

    __slots__ = ()

    @abstractmethod
    def _end(self) -> None:
        """End this side for good; idempotent."""

    async def aclose(self) -> None:
        """End this side, in the shape of other asynchronous closers; it does not wait."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._end()


def end_forgotten(loop: asyncio.AbstractEventLoop | None, end: Callable[[], object]) -> None:
    """Call ``end`` in the thread of ``loop``; for ``__del__``, which any thread may run.

    At once if this is the thread, or nobody runs the loop, or None is known; not at all if the
    loop is closed, because nobody waits on it any more.
    """
    if loop is None or not loop.is_running():
        if loop is None or not loop.is_closed():
            end()
        return
    if running_loop() is loop:
        end()
    else:
        loop.call_soon_threadsafe(end)


def warn_forgotten(end: object) -> None:
    """Say that ``end`` was collected as garbage instead of being ended; for ``__del__``.

    End it first: the warning may have been made an error.
    """
    warnings.warn(f"{end!r} was never closed", ResourceWarning, stacklevel=3, source=end)

"""What every end of a channel does at the end of a ``with`` block, and when it is forgotten."""

import warnings
from abc import abstractmethod
from types import TracebackType
from typing import Self


class Closing:
    """An end of a channel as a context manager, plain or asynchronous; ending it never waits."""

    __slots__ = ()

    @abstractmethod
    def _end(self) -> None:
        """End this side for good; called at most a few times, must be idempotent."""

    async def aclose(self) -> None:
        """End this side, in the shape of other asynchronous closers; it does not wait."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()


def warn_forgotten(end: object) -> None:
    """Say that ``end`` was collected as garbage instead of being ended; for ``__del__``."""
    warnings.warn(f"{end!r} was never closed", ResourceWarning, stacklevel=3, source=end)

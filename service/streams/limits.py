"""Combinators that end a stream early or start it late."""

from collections.abc import Callable
from typing import TypeVar

from service.streams.stage import Stage

T = TypeVar("T")
U = TypeVar("U")
S = TypeVar("S")


class Take(Stage[T]):
    """The first ``count`` items; never pulls a further one, nor pulls again after the last."""

    def __init__(self, source: Stage[T], count: int) -> None:
        super().__init__(source)
        self._source = source
        self._left = count

    async def _pull(self, limit: int) -> list[T] | None:
        if self._left <= 0:
            return None
        chunk = await self._source.pull(min(limit, self._left))
        if chunk is not None:
            self._left -= len(chunk)
        return chunk


class Skip(Stage[T]):
    """All but the first ``count`` items."""

    def __init__(self, source: Stage[T], count: int) -> None:
        super().__init__(source)
        self._source = source
        self._left = count

    async def _pull(self, limit: int) -> list[T] | None:
        while self._left > 0:
            skipped = await self._source.pull(self._left)
            if skipped is None:
                return None
            self._left -= len(skipped)
        return await self._source.pull(limit)


class StepBy(Stage[T]):
    """Every ``step``-th item, the first one included."""

    def __init__(self, source: Stage[T], step: int) -> None:
        super().__init__(source)
        self._source = source
        self._step = step
        self._until_next = 0

    async def _pull(self, limit: int) -> list[T] | None:
        while (chunk := await self._source.pull(limit)) is not None:
            kept = chunk[self._until_next :: self._step]
            self._until_next = (self._until_next - len(chunk)) % self._step
            if kept:
                return kept
        return None


class Scan(Stage[U]):
    """Results of ``function(state, item)`` until it says that the stream ends.

    ``function`` returns the next state and the result, or ``None`` to end.  The item that ended
    the stream is consumed; items of the same chunk after it are dropped with the source.
    """

    def __init__(
        self, source: Stage[T], state: S, function: Callable[[S, T], tuple[S, U] | None]
    ) -> None:
        super().__init__(source)
        self._source = source
        self._step = _stepping(state, function)
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[U] | None:
        if self._failure is not None:
            raise self._failure
        chunk = await self._source.pull(limit)
        if chunk is None:
            return None
        results: list[U] = []
        try:
            for item in chunk:
                result = self._step(item)
                if result is None:
                    self._over = True  # what came before it goes out first
                    break
                results.append(result[0])
        except Exception as error:
            if not results:
                raise
            self._failure = error  # likewise
        return results or None


def _stepping(
    state: S, function: Callable[[S, T], tuple[S, U] | None]
) -> Callable[[T], tuple[U] | None]:
    def step(item: T) -> tuple[U] | None:
        nonlocal state
        answer = function(state, item)
        if answer is None:
            return None
        state, result = answer
        return (result,)

    return step


def taking_while(predicate: Callable[[T], object]) -> Callable[[None, T], tuple[None, T] | None]:
    """The scan that ends at the first item for which ``predicate`` is false."""
    return lambda _, item: (None, item) if predicate(item) else None


def mapping_while(function: Callable[[T], U | None]) -> Callable[[None, T], tuple[None, U] | None]:
    """The scan that ends at the first item that becomes ``None``."""

    def step(_: None, item: T) -> tuple[None, U] | None:
        result = function(item)
        return None if result is None else (None, result)

    return step

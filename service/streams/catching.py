"""Stages about errors: exceptions that become items, and lists that end at an error item."""

from typing import TypeVar

from service.streams.polling import PENDING, RESTING, Pending, Resting, poll
from service.streams.result import Err, Ok, Partial
from service.streams.stage import Stage

T = TypeVar("T")
V = TypeVar("V")
E = TypeVar("E")


class Catch(Stage[Ok[T] | Err[Exception]]):
    """``Ok`` items; an exception of the source becomes the last item, an ``Err``."""

    def __init__(self, source: Stage[T]) -> None:
        super().__init__(source)
        self._source = source

    async def _pull(self, limit: int) -> list[Ok[T] | Err[Exception]] | None:
        try:
            chunk = await self._source.pull(limit)
        except Exception as error:  # noqa: BLE001 -- becomes an item, as asked for
            return [Err(error)]
        return None if chunk is None else [Ok(item) for item in chunk]


class TryChunks(Stage[Ok[list[V]] | Err[Partial[V, E]]]):
    """Lists of ``size`` values; an error comes at once, with the values before it."""

    def __init__(self, source: Stage[Ok[V] | Err[E]], size: int) -> None:
        super().__init__(source)
        self._source = source
        self._size = size
        self._values: list[V] = []
        self._results: list[Ok[list[V]] | Err[Partial[V, E]]] = []
        self._finished = False
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[Ok[list[V]] | Err[Partial[V, E]]] | None:
        while not self._results:
            if self._failure is not None:
                raise self._failure
            if self._finished:
                return None
            try:
                chunk = await self._source.pull(self._size - len(self._values))
            except Exception as error:  # noqa: BLE001 -- raised after the values before it
                self._failure = error
                chunk = None
            if chunk is None:
                self._finished = True
                self._flush()
            else:
                self._sort(chunk)
        results = self._results[:limit]
        del self._results[:limit]
        return results

    def _sort(self, chunk: list[Ok[V] | Err[E]]) -> None:
        for item in chunk:
            if isinstance(item, Ok):
                self._values.append(item.value)
            else:
                values, self._values = self._values, []
                self._results.append(Err(Partial(values, item.error)))
        if len(self._values) >= self._size:
            self._flush()

    def _flush(self) -> None:
        if self._values:
            values, self._values = self._values, []
            self._results.append(Ok(values))


class TryReadyChunks(TryChunks[V, E]):
    """Lists of the values that are ready, up to ``size``."""

    def _sort(self, chunk: list[Ok[V] | Err[E]]) -> None:
        super()._sort(chunk)
        while self._values and not self._results:
            more = self._more()
            if more is PENDING or more is RESTING or more is None:
                self._flush()
            else:
                super()._sort(more)

    def _more(self) -> list[Ok[V] | Err[E]] | Pending | Resting | None:
        try:
            return poll(self._source.pull(self._size - len(self._values)))
        except Exception as error:  # noqa: BLE001 -- raised after the values before it
            self._failure = error
            return None

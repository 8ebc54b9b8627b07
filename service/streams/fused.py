"""Sync combinators, all of them one loop over the chunk.

``map``, ``filter`` and their like are transforms of an iterator.  Consecutive ones are chained
and run by a single ``list.extend``, so an item passes through all of them before the next one
starts, as it would one by one, and no item costs an ``await``.  When a function raises, the
items before it have already arrived: ``extend`` keeps what it has got.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Final, TypeVar, cast

from service.streams.stage import Stage

T = TypeVar("T")
U = TypeVar("U")

_NOTHING: Final = object()

Transform = Callable[[Iterator[T]], Iterable[U]]
"""Turns the items of one chunk into those that follow from them."""


class Fused(Stage[U]):
    """``source``, with the transforms applied to every chunk of it.

    An exception of a function reaches the consumer after the items before it, and ends the
    stream.  Cancel safety: nothing is awaited between taking a chunk and returning it.
    """

    def __init__(self, source: Stage[T], *transforms: Transform[object, object]) -> None:
        super().__init__(source)
        self._source = cast("Stage[object]", source)
        self._transforms = transforms
        self._failure: Exception | None = None

    async def _pull(self, limit: int) -> list[U] | None:
        while self._failure is None:
            chunk = await self._source.pull(limit)
            if chunk is None:
                return None
            results = self._run(chunk)
            if results:
                return results
        raise self._failure

    def _run(self, chunk: list[object]) -> list[U]:
        rest = iter(chunk)
        items: Iterable[object] = rest
        results: list[object] = []
        try:
            for transform in self._transforms:
                items = transform(iter(items))
            results.extend(items)
        except Exception as error:  # noqa: BLE001 -- raised by the next pull
            self._failure = error
        else:
            # One that was not asked for what comes after the last item finds one more item now.
            chunk.append(_NOTHING)
            if rest.__length_hint__():  # type: ignore[attr-defined]  # list iterators have it
                self._failure = RuntimeError("a function of the stream raised StopIteration")
        return cast("list[U]", results)


def fuse(source: Stage[T], transform: Transform[T, U]) -> Stage[U]:
    """Append ``transform`` to ``source``: to its loop if it has one, else in a loop of its own."""
    last = cast("Transform[object, object]", transform)
    if isinstance(source, Fused):
        return Fused(source._source, *source._transforms, last)  # noqa: SLF001 -- our own class
    return Fused(source, last)


def mapping(function: Callable[[T], U]) -> Transform[T, U]:
    """Replace every item by ``function`` of it."""
    return lambda items: map(function, items)


def filtering(predicate: Callable[[T], object]) -> Transform[T, T]:
    """Keep the items for which ``predicate`` is true."""
    return lambda items: filter(predicate, items)


def filter_mapping(function: Callable[[T], U | None]) -> Transform[T, U]:
    """Replace every item, dropping those that become ``None``."""

    def transform(items: Iterator[T]) -> Iterator[U]:
        return (result for item in items if (result := function(item)) is not None)

    return transform


def inspecting(function: Callable[[T], object]) -> Transform[T, T]:
    """Show every item to ``function`` and pass it on."""

    def look(item: T) -> T:
        function(item)
        return item

    return lambda items: map(look, items)


def enumerating(start: int) -> Transform[T, tuple[int, T]]:
    """Number the items across all chunks."""
    position = start

    def number(item: T) -> tuple[int, T]:
        nonlocal position
        numbered = (position, item)
        position += 1
        return numbered

    return lambda items: map(number, items)


def skipping_while(predicate: Callable[[T], object]) -> Transform[T, T]:
    """Drop items until ``predicate`` is false for one; that one and all after it pass."""
    skipping = True

    def transform(items: Iterator[T]) -> Iterator[T]:
        nonlocal skipping
        for item in items:
            if not skipping or not predicate(item):
                skipping = False
                yield item
                yield from items

    return transform


def deduplicating(key: Callable[[T], Hashable] | None) -> Transform[T, T]:
    """Drop items that equal the one right before them, across chunks."""
    last: object = _NOTHING

    def transform(items: Iterator[T]) -> Iterator[T]:
        nonlocal last
        for item in items:
            current = item if key is None else key(item)
            if last is _NOTHING or current != last:
                last = current
                yield item

    return transform


class MapChunks(Stage[U]):
    """``function`` of every chunk, handed out in pieces no larger than asked for."""

    def __init__(self, source: Stage[T], function: Callable[[list[T]], list[U]]) -> None:
        super().__init__(source)
        self._source = source
        self._function = function
        self._results: list[U] = []
        self._start = 0  # of what was not handed out; cheaper than shifting a long list

    async def _pull(self, limit: int) -> list[U] | None:
        while not self._results:
            chunk = await self._source.pull(limit)
            if chunk is None:
                return None
            self._results = self._function(chunk)
        start, end = self._start, self._start + limit
        if end < len(self._results):
            self._start = end
            return self._results[start:end]
        results, self._results, self._start = self._results, [], 0
        return results[start:] if start else results

"""Methods of a stream that look at one item after the other, without waiting."""

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from service.streams import fused, limits
from service.streams.owned import Owned
from service.streams.stage import at_least_one

if TYPE_CHECKING:
    from service.streams.peekable import Peekable
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
S = TypeVar("S")


class Transforms(Owned[T_co]):
    """``map`` and its like.

    The functions are sync and run in the task of the consumer, for a chunk of items at a time;
    an item passes all of them before the next one starts.  An exception of a function reaches
    the consumer after the items before it, and ends the stream.  All are cancel-safe.
    """

    def map(self, function: Callable[[T_co], U]) -> "Stream[U]":
        """Replace every item by ``function(item)``."""
        return self._derived(fused.fuse(self._into_stage(), fused.mapping(function)))

    def filter(self, predicate: Callable[[T_co], object]) -> "Stream[T_co]":
        """Keep the items for which ``predicate(item)`` is true."""
        return self._derived(fused.fuse(self._into_stage(), fused.filtering(predicate)))

    def filter_map(self, function: Callable[[T_co], U | None]) -> "Stream[U]":
        """Replace every item by ``function(item)``, dropping those that become ``None``."""
        return self._derived(fused.fuse(self._into_stage(), fused.filter_mapping(function)))

    def inspect(self, function: Callable[[T_co], object]) -> "Stream[T_co]":
        """Call ``function(item)`` for every item and pass the item on."""
        return self._derived(fused.fuse(self._into_stage(), fused.inspecting(function)))

    def enumerate(self, start: int = 0) -> "Stream[tuple[int, T_co]]":
        """Pair every item with its number, counted from ``start``."""
        return self._derived(fused.fuse(self._into_stage(), fused.enumerating(start)))

    def dedup(self, key: Callable[[T_co], Hashable] | None = None) -> "Stream[T_co]":
        """Drop items that equal the one right before them (by ``key``, if given)."""
        return self._derived(fused.fuse(self._into_stage(), fused.deduplicating(key)))

    def map_chunks(self, function: Callable[[list[T_co]], list[U]]) -> "Stream[U]":
        """Replace every chunk by ``function(chunk)``: the door to work on whole lists.

        How a stream is cut in chunks carries no meaning and may change; each is a list of at
        least one item that belongs to ``function``, which may return fewer or more (also none).
        """
        return self._derived(fused.MapChunks(self._into_stage(), function))

    def take(self, count: int) -> "Stream[T_co]":
        """End after ``count`` items; no item after them is taken from the source."""
        return self._derived(limits.Take(self._into_stage(), count))

    def take_while(self, predicate: Callable[[T_co], object]) -> "Stream[T_co]":
        """End at the first item for which ``predicate(item)`` is false, which is consumed."""
        step = limits.taking_while(predicate)
        return self._derived(limits.Scan(self._into_stage(), None, step))

    def map_while(self, function: Callable[[T_co], U | None]) -> "Stream[U]":
        """Replace items by ``function(item)`` up to the first that becomes ``None``."""
        step = limits.mapping_while(function)
        return self._derived(limits.Scan(self._into_stage(), None, step))

    def skip(self, count: int) -> "Stream[T_co]":
        """Drop the first ``count`` items."""
        return self._derived(limits.Skip(self._into_stage(), count))

    def skip_while(self, predicate: Callable[[T_co], object]) -> "Stream[T_co]":
        """Drop items until ``predicate(item)`` is false; that one and all after it pass."""
        return self._derived(fused.fuse(self._into_stage(), fused.skipping_while(predicate)))

    def step_by(self, step: int) -> "Stream[T_co]":
        """Keep the first item and every ``step``-th after it.

        Raises:
            ValueError: If ``step`` is less than 1.
        """
        step = at_least_one("step", step)
        return self._derived(limits.StepBy(self._into_stage(), step))

    def scan(self, state: S, function: Callable[[S, T_co], tuple[S, U] | None]) -> "Stream[U]":
        """Thread a state through: ``function(state, item)`` gives the next state and a result.

        ``None`` instead of the pair ends the stream.
        """
        return self._derived(limits.Scan(self._into_stage(), state, function))

    def fuse(self) -> "Stream[T_co]":
        """Return a stream that stays ended once it has ended, as every stream here does."""
        return self._derived(self._into_stage())

    def peekable(self) -> "Peekable[T_co]":
        """Return the same stream, with ``peek`` and ``next_if``."""
        from service.streams.peekable import Peekable  # noqa: PLC0415 -- it is a Stream itself

        return Peekable(self._into_stage())

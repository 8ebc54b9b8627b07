"""Methods of a stream that wait for a coroutine per item, one after the other."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.streams import fused, sequential
from service.streams.owned import Owned

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Sequences(Owned[T_co]):
    """``then`` and its like.

    At most one coroutine of a combinator runs at a time, in a task that the stream owns, while
    items are asked for.  An exception ends the stream, after the items before it.

    Cancel safety: what runs goes on running while the wait for it is cancelled, and its result
    comes with the next item that is asked for.
    """

    def then(self, function: Callable[[T_co], Awaitable[U]]) -> "Stream[U]":
        """Replace every item by ``await function(item)``, one after the other."""
        return self._derived(sequential.then(self._into_stage(), function))

    def filter_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """Keep the items for which ``await predicate(item)`` is true."""
        return self._derived(sequential.filter_async(self._into_stage(), predicate))

    def filter_map_async(self, function: Callable[[T_co], Awaitable[U | None]]) -> "Stream[U]":
        """Replace every item by ``await function(item)``, dropping those that become ``None``."""
        results = sequential.then(self._into_stage(), function)
        return self._derived(fused.fuse(results, fused.filter_mapping(lambda result: result)))

    def take_while_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """End at the first item for which ``await predicate(item)`` is false; it is consumed."""
        return self._derived(sequential.take_while_async(self._into_stage(), predicate))

    def skip_while_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """Drop items until ``await predicate(item)`` is false; that one and all after it pass."""
        return self._derived(sequential.skip_while_async(self._into_stage(), predicate))

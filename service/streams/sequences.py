"""Methods of a stream that wait for a coroutine per item, one after the other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.streams.fused import filter_mapping, fuse
from service.streams.owned import Owned
from service.streams.pump import Demand, Pump
from service.streams.stage import Stage

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
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
        return self._derived(then(self._into_stage(), function))

    def filter_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """Keep the items for which ``await predicate(item)`` is true."""
        source = self._into_stage()

        async def run(demand: Demand) -> AsyncIterator[T_co]:
            while (chunk := await source.pull(demand())) is not None:
                for item in chunk:
                    if await predicate(item):
                        yield item

        return self._derived(Pump(run, source))

    def filter_map_async(self, function: Callable[[T_co], Awaitable[U | None]]) -> "Stream[U]":
        """Replace every item by ``await function(item)``, dropping those that become ``None``."""
        results = then(self._into_stage(), function)
        return self._derived(fuse(results, filter_mapping(lambda result: result)))

    def take_while_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """End at the first item for which ``await predicate(item)`` is false; it is consumed."""
        source = self._into_stage()

        async def run(demand: Demand) -> AsyncIterator[T_co]:
            while (chunk := await source.pull(demand())) is not None:
                for item in chunk:
                    if not await predicate(item):
                        return
                    yield item

        return self._derived(Pump(run, source))

    def skip_while_async(self, predicate: Callable[[T_co], Awaitable[object]]) -> "Stream[T_co]":
        """Drop items until ``await predicate(item)`` is false; that one and all after it pass."""
        source = self._into_stage()

        async def run(demand: Demand) -> AsyncIterator[T_co]:
            skipping = True
            while (chunk := await source.pull(demand())) is not None:
                for item in chunk:
                    skipping = skipping and bool(await predicate(item))
                    if not skipping:
                        yield item

        return self._derived(Pump(run, source))


def then(source: Stage[T], function: Callable[[T], Awaitable[U]]) -> Stage[U]:
    """The results of ``function``, awaited one after the other."""

    async def run(demand: Demand) -> AsyncIterator[U]:
        while (chunk := await source.pull(demand())) is not None:
            for item in chunk:
                yield await function(item)

    return Pump(run, source)

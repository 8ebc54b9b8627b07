"""Methods of a stream that run several things at once."""

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from service.streams.buffer_unordered import BufferUnordered
from service.streams.buffered import Buffered
from service.streams.calls import Eager, Later, Work
from service.streams.fused import fuse, mapping
from service.streams.lanes import Lanes
from service.streams.owned import Owned
from service.streams.stage import ANY, at_least_one

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")
U = TypeVar("U")

WAITING_PER_SLOT = 16
"""Default of ``max_waiting`` per slot: enough for a busy lane not to starve the others."""


class Concurrency(Owned[T_co]):
    """``buffer_unordered`` and its like.

    What runs, runs in tasks that the stream owns: it advances while nobody asks for items, and
    is cancelled and awaited when the stream is closed.  A finished result that was not handed
    out still occupies its slot, so a slow consumer bounds the work.
    """

    @overload
    def buffer_unordered(
        self: "Owned[Callable[[], Awaitable[U | Later[U]]]]",
        limit: int,
        *,
        ordered_by: Callable[[T_co], Hashable | None] | None = None,
        max_waiting: int | None = None,
        eager: Eager | None = None,
        lanes: Lanes[Any] | None = None,
    ) -> "Stream[U]": ...

    @overload
    def buffer_unordered(
        self: "Owned[Awaitable[U | Later[U]]]",
        limit: int,
        *,
        ordered_by: Callable[[T_co], Hashable | None] | None = None,
        max_waiting: int | None = None,
        eager: Eager | None = None,
        lanes: Lanes[Any] | None = None,
    ) -> "Stream[U]": ...

    @overload
    def buffer_unordered(
        self: "Owned[U | Callable[[], Awaitable[U | Later[U]]] | Awaitable[U | Later[U]]]",
        limit: int,
        *,
        ordered_by: Callable[[T_co], Hashable | None] | None = None,
        max_waiting: int | None = None,
        eager: Eager | None = None,
        lanes: Lanes[Any] | None = None,
    ) -> "Stream[U]": ...

    def buffer_unordered(
        self: "Owned[U | Work[U]]",
        limit: int,
        *,
        ordered_by: Callable[[T_co], Hashable | None] | None = None,
        max_waiting: int | None = None,
        eager: Eager | None = None,
        lanes: Lanes[Any] | None = None,
    ) -> "Stream[U]":
        """Run the items that are calls, at most ``limit`` at once; hand out results as they come.

        An item that is neither callable nor awaitable is a result already.  Prefer callables
        (without arguments, returning an awaitable) to coroutines: they start nothing early.
        A call that returns ``Later(delay_s, call)`` is continued by that call after the delay;
        its slot is free meanwhile.  An exception of a call cancels the others and ends the
        stream, after the results before it; errors that should not are returned as values.  An
        exception of the source comes after everything that was accepted before it.

        Results come in chunks of at most ``limit``; a chunk of the source that is all results
        passes as it is when nothing runs or waits.  The source is pulled while less than
        ``max_waiting`` accepted items wait for a slot, a lane or their time.

        Cancel safety: nothing is lost, and what runs goes on running.

        Args:
            limit: Most calls in flight, at least 1; finished results that were not handed out
                count.
            ordered_by: The lane of an item, asked at most once per item: of one lane at most
                one is in flight, first in first out, also through ``Later``; ``None`` is no
                lane.
            max_waiting: Most items accepted beyond those; 16 times ``limit`` by default.  0
                takes an item only when a slot is free for it; with ``ordered_by`` at least 1.
            eager: Begins calls that may end without waiting, many at once; see
                :class:`~service.streams.calls.Eager`.  Of their results, up to 384 may wait to be
                handed out, however low ``limit`` is.
            lanes: Where calls wait for their lane, for whoever wants to look at them; new ones by
                default.

        Raises:
            ValueError: If ``limit`` or ``max_waiting`` is out of range.
        """
        at_least_one("limit", limit)
        waiting = WAITING_PER_SLOT * limit if max_waiting is None else max_waiting
        if waiting < (0 if ordered_by is None else 1):
            raise ValueError(f"max_waiting is too small: {waiting}")
        stage = BufferUnordered(
            self._into_stage(),
            limit,
            cast("Callable[[U | Work[U]], Hashable | None] | None", ordered_by),
            waiting,
            eager=eager,
            lanes=lanes,
        )
        return self._derived(stage)

    @overload
    def buffered(self: "Owned[Callable[[], Awaitable[U]]]", limit: int) -> "Stream[U]": ...

    @overload
    def buffered(self: "Owned[Awaitable[U]]", limit: int) -> "Stream[U]": ...

    @overload
    def buffered(
        self: "Owned[U | Callable[[], Awaitable[U]] | Awaitable[U]]", limit: int
    ) -> "Stream[U]": ...

    def buffered(
        self: "Owned[U | Callable[[], Awaitable[U]] | Awaitable[U]]", limit: int
    ) -> "Stream[U]":
        """Run the items that are calls, at most ``limit`` at once, keeping the source's order.

        An item is taken from the source when a place is free for it, and keeps the place until
        its result is handed out: a slow call holds up what is behind it, which is the bound.
        Ready items and exceptions are treated as by ``buffer_unordered``.

        Cancel safety: nothing is lost, and what runs goes on running.

        Raises:
            ValueError: If ``limit`` is less than 1.
        """
        return self._derived(Buffered[U](self._into_stage(), at_least_one("limit", limit)))

    async def for_each_concurrent(
        self, limit: int | None, function: Callable[[T_co], Awaitable[object]]
    ) -> None:
        """Run ``function(item)`` for every item, at most ``limit`` at once, to the end of all.

        The first exception cancels the others and is raised.  Consumes and closes the stream.

        Args:
            limit: Most at once, at least 1; ``None`` is no limit.
            function: Its result is ignored.

        Raises:
            ValueError: If ``limit`` is less than 1.
        """
        room = ANY if limit is None else at_least_one("limit", limit)
        calls = fuse(self._into_stage(), mapping(_binding(function)))
        await self._derived(BufferUnordered[object](calls, room, None, 0)).count()


def _binding(function: Callable[[T], Awaitable[U]]) -> Callable[[T], Callable[[], Awaitable[U]]]:
    return lambda item: partial(function, item)

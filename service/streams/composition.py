"""Methods of a stream that put it together with others, with lists, or with the clock."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from service.errors import ElapsedError
from service.streams import windows
from service.streams.conversion import Streamable, stage_of
from service.streams.flattening import Flatten, FlattenUnordered
from service.streams.fused import fuse, mapping
from service.streams.merging import Merge
from service.streams.owned import Owned
from service.streams.result import Err, Ok
from service.streams.stage import ANY, at_least_one
from service.streams.stopping import TakeUntil
from service.streams.timing import ChunksTimeout, Throttle, Timeout

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Composition(Owned[T_co]):
    """``chain``, ``merge``, ``flatten``, ``chunks``, ``zip`` and their like; all cancel-safe.

    Where another stream is expected, an iterable or async iterable will do.  A stream that is
    given is moved, and closed with this one.
    """

    def chain(self, other: Streamable[U]) -> "Stream[T_co | U]":
        """Go on with ``other`` after the end; it is not asked before."""
        return self._derived(windows.Chain[T_co | U](self._into_stage(), stage_of(other)))

    def zip(self, other: Streamable[U]) -> "Stream[tuple[T_co, U]]":
        """Pair items; ends when either stream ends, and loses what the longer one had ready."""
        return self._derived(windows.Zip(self._into_stage(), stage_of(other)))

    def merge(self, other: Streamable[U]) -> "Stream[T_co | U]":
        """Return the items of both as they come, in turns if both have some; ends with both."""
        return self._derived(Merge[T_co | U]((self._into_stage(), stage_of(other))))

    def flatten(self: "Owned[Streamable[U]]") -> "Stream[U]":
        """Return the items of every item, strictly one inner stream after the other."""
        return self._derived(Flatten(self._into_stage()))

    def flat_map(self, function: Callable[[T_co], Streamable[U]]) -> "Stream[U]":
        """Return the items of every ``function(item)``, one after the other."""
        return self._derived(Flatten(fuse(self._into_stage(), mapping(function))))

    def flatten_unordered(self: "Owned[Streamable[U]]", limit: int | None = None) -> "Stream[U]":
        """Return the items of up to ``limit`` inner streams at once, as they come.

        Args:
            limit: Most inner streams at once, at least 1; ``None`` is no limit.

        Raises:
            ValueError: If ``limit`` is less than 1.
        """
        room = ANY if limit is None else at_least_one("limit", limit)
        return self._derived(FlattenUnordered(self._into_stage(), room))

    def flat_map_unordered(
        self, limit: int | None, function: Callable[[T_co], Streamable[U]]
    ) -> "Stream[U]":
        """Return the items of up to ``limit`` of the streams ``function(item)`` at once."""
        room = ANY if limit is None else at_least_one("limit", limit)
        inners = fuse(self._into_stage(), mapping(function))
        return self._derived(FlattenUnordered(inners, room))

    def chunks(self, size: int) -> "Stream[list[T_co]]":
        """Return lists of exactly ``size`` items, except the last; waits until each is full.

        Raises:
            ValueError: If ``size`` is less than 1.
        """
        return self._derived(windows.Chunks(self._into_stage(), at_least_one("size", size)))

    def ready_chunks(self, size: int) -> "Stream[list[T_co]]":
        """Return lists of what is ready, up to ``size`` items; waits only for the first of each.

        Raises:
            ValueError: If ``size`` is less than 1.
        """
        return self._derived(windows.ReadyChunks(self._into_stage(), at_least_one("size", size)))

    def chunks_timeout(self, size: int, timeout_s: float) -> "Stream[list[T_co]]":
        """Return lists of ``size`` items, or what came within ``timeout_s`` of the first of them.

        Never an empty list.  The clock starts with the first item of a list, not with the end
        of the one before it.  An item that is ready is taken before the clock is looked at.

        Raises:
            ValueError: If ``size`` is less than 1.
        """
        size = at_least_one("size", size)
        return self._derived(ChunksTimeout(self._into_stage(), size, timeout_s))

    def timeout(self, timeout_s: float) -> "Stream[Ok[T_co] | Err[ElapsedError]]":
        """Return ``Ok`` items, and one ``Err`` whenever none came for ``timeout_s``.

        It is said once until the next item comes; the source is not cancelled and loses
        nothing.  The first wait counts from this call, which needs a running event loop.
        """
        return self._derived(Timeout(self._into_stage(), timeout_s, repeating=False))

    def timeout_repeating(self, interval_s: float) -> "Stream[Ok[T_co] | Err[ElapsedError]]":
        """Return ``Ok`` items, and an ``Err`` after every ``interval_s`` without one."""
        return self._derived(Timeout(self._into_stage(), interval_s, repeating=True))

    def throttle(self, period_s: float) -> "Stream[T_co]":
        """Space items by at least ``period_s``; the first passes at once, none is dropped.

        The time counts from when an item was taken; the source is not asked before it is over,
        so it is slowed down.  0 does nothing.
        """
        return self._derived(Throttle(self._into_stage(), period_s))

    def take_until(self, stop: Awaitable[object]) -> "Stream[T_co]":
        """End when ``stop`` is done, even if items are ready.

        A coroutine runs in a task of the stream from the first item asked for, and is cancelled
        with it; a future or a task is watched and left alone.
        """
        return self._derived(TakeUntil(self._into_stage(), stop))

    def notify_close(self) -> "Stream[T_co | None]":
        """Return one ``None`` after the last item, for combinators that drop ended streams."""
        return self.chain((None,))

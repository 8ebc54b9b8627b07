"""Methods of a stream whose items are ``Ok`` or ``Err``, that return another stream."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from service.streams.buffer_unordered import BufferUnordered
from service.streams.buffered import Buffered
from service.streams.calls import Work
from service.streams.catching import Catch, TryChunks, TryReadyChunks
from service.streams.conversion import Streamable
from service.streams.flattening import Flatten, FlattenUnordered
from service.streams.fused import filter_mapping, filtering, fuse, mapping
from service.streams.limits import Scan, taking_while
from service.streams.owned import Owned
from service.streams.result import Err, Ok, Partial
from service.streams.sequences import then
from service.streams.stage import ANY, Stage, at_least_one

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")
V = TypeVar("V")
W = TypeVar("W")
E = TypeVar("E")
F = TypeVar("F")


class Results(Owned[T_co]):
    """``map_ok``, ``and_then``, ``try_filter`` and their like.

    What they do is done to the values of ``Ok`` items; an ``Err`` passes unchanged, in its
    place, and does not end the stream.  All are cancel-safe.
    """

    def catch(self) -> "Stream[Ok[T_co] | Err[Exception]]":
        """Return ``Ok`` items; an exception of the stream becomes its last item, an ``Err``."""
        return self._derived(Catch(self._into_stage()))

    def map_ok(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[V], W]
    ) -> "Stream[Ok[W] | Err[E]]":
        """Replace every value by ``function(value)``."""

        def apply(item: Ok[V] | Err[E]) -> Ok[W] | Err[E]:
            return Ok(function(item.value)) if isinstance(item, Ok) else item

        return self._derived(fuse(self._into_stage(), mapping(apply)))

    def map_err(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[E], F]
    ) -> "Stream[Ok[V] | Err[F]]":
        """Replace every error by ``function(error)``."""

        def apply(item: Ok[V] | Err[E]) -> Ok[V] | Err[F]:
            return item if isinstance(item, Ok) else Err(function(item.error))

        return self._derived(fuse(self._into_stage(), mapping(apply)))

    def inspect_ok(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[V], object]
    ) -> "Stream[Ok[V] | Err[E]]":
        """Call ``function(value)`` for every value and pass the item on."""

        def look(item: Ok[V] | Err[E]) -> Ok[V] | Err[E]:
            if isinstance(item, Ok):
                function(item.value)
            return item

        return self._derived(fuse(self._into_stage(), mapping(look)))

    def inspect_err(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[E], object]
    ) -> "Stream[Ok[V] | Err[E]]":
        """Call ``function(error)`` for every error and pass the item on."""

        def look(item: Ok[V] | Err[E]) -> Ok[V] | Err[E]:
            if isinstance(item, Err):
                function(item.error)
            return item

        return self._derived(fuse(self._into_stage(), mapping(look)))

    def and_then(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[V], Awaitable[Ok[W] | Err[F]]]
    ) -> "Stream[Ok[W] | Err[E | F]]":
        """Replace every value's item by ``await function(value)``, one after the other."""

        async def step(item: Ok[V] | Err[E]) -> Ok[W] | Err[E | F]:
            return await function(item.value) if isinstance(item, Ok) else item

        return self._derived(then(self._into_stage(), step))

    def or_else(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[E], Awaitable[Ok[W] | Err[F]]]
    ) -> "Stream[Ok[V | W] | Err[F]]":
        """Replace every error's item by ``await function(error)``, one after the other."""

        async def step(item: Ok[V] | Err[E]) -> Ok[V | W] | Err[F]:
            return item if isinstance(item, Ok) else await function(item.error)

        return self._derived(then(self._into_stage(), step))

    def try_filter(
        self: "Owned[Ok[V] | Err[E]]", predicate: Callable[[V], object]
    ) -> "Stream[Ok[V] | Err[E]]":
        """Keep the values for which ``predicate(value)`` is true, and every error."""
        keep = _on_values(predicate)
        return self._derived(fuse(self._into_stage(), filtering(keep)))

    def try_filter_map(
        self: "Owned[Ok[V] | Err[E]]", function: Callable[[V], W | None]
    ) -> "Stream[Ok[W] | Err[E]]":
        """Replace every value, dropping those that become ``None``; keep every error."""

        def apply(item: Ok[V] | Err[E]) -> Ok[W] | Err[E] | None:
            if isinstance(item, Err):
                return item
            result = function(item.value)
            return None if result is None else Ok(result)

        return self._derived(fuse(self._into_stage(), filter_mapping(apply)))

    def try_take_while(
        self: "Owned[Ok[V] | Err[E]]", predicate: Callable[[V], object]
    ) -> "Stream[Ok[V] | Err[E]]":
        """End at the first value for which ``predicate(value)`` is false; errors pass."""
        step = taking_while(_on_values(predicate))
        return self._derived(Scan(self._into_stage(), None, step))

    def try_skip_while(
        self: "Owned[Ok[V] | Err[E]]", predicate: Callable[[V], object]
    ) -> "Stream[Ok[V] | Err[E]]":
        """Drop values until ``predicate(value)`` is false; errors pass all the time."""
        skipping = True

        def keep(item: Ok[V] | Err[E]) -> bool:
            nonlocal skipping
            if skipping and isinstance(item, Ok):
                skipping = bool(predicate(item.value))
                return not skipping
            return True

        return self._derived(fuse(self._into_stage(), filtering(keep)))

    def try_flatten(
        self: "Owned[Ok[Streamable[Ok[W] | Err[F]]] | Err[E]]",
    ) -> "Stream[Ok[W] | Err[E | F]]":
        """Return the items of every value, one inner stream after the other; errors pass."""
        return self._derived(Flatten(fuse(self._into_stage(), mapping(_inner))))

    def try_flatten_unordered(
        self: "Owned[Ok[Streamable[Ok[W] | Err[F]]] | Err[E]]", limit: int | None = None
    ) -> "Stream[Ok[W] | Err[E | F]]":
        """Return the items of up to ``limit`` inner streams at once; errors pass.

        Raises:
            ValueError: If ``limit`` is less than 1.
        """
        room = ANY if limit is None else at_least_one("limit", limit)
        inners = fuse(self._into_stage(), mapping(_inner))
        return self._derived(FlattenUnordered(inners, room))

    def try_chunks(
        self: "Owned[Ok[V] | Err[E]]", size: int
    ) -> "Stream[Ok[list[V]] | Err[Partial[V, E]]]":
        """Return lists of ``size`` values; an error comes at once, with the values before it.

        Raises:
            ValueError: If ``size`` is less than 1.
        """
        return self._derived(TryChunks(self._into_stage(), at_least_one("size", size)))

    def try_ready_chunks(
        self: "Owned[Ok[V] | Err[E]]", size: int
    ) -> "Stream[Ok[list[V]] | Err[Partial[V, E]]]":
        """Return lists of the values that are ready, up to ``size``, as ``try_chunks`` does.

        Raises:
            ValueError: If ``size`` is less than 1.
        """
        return self._derived(TryReadyChunks(self._into_stage(), at_least_one("size", size)))

    def try_buffered(
        self: "Owned[Ok[Callable[[], Awaitable[Ok[W] | Err[F]]]] | Err[E]]", limit: int
    ) -> "Stream[Ok[W] | Err[E | F]]":
        """Run the values, which are calls, as ``buffered`` does; an error keeps its place."""
        return self._derived(Buffered(_work(self._into_stage()), at_least_one("limit", limit)))

    def try_buffer_unordered(
        self: "Owned[Ok[Callable[[], Awaitable[Ok[W] | Err[F]]]] | Err[E]]", limit: int
    ) -> "Stream[Ok[W] | Err[E | F]]":
        """Run the values, which are calls; results and errors come as soon as they are there.

        An error of the source comes at once, while the calls before it go on.
        """
        work = _work(self._into_stage())
        return self._derived(BufferUnordered(work, at_least_one("limit", limit), None, 0))


def _on_values(predicate: Callable[[V], object]) -> Callable[[Ok[V] | Err[E]], bool]:
    """Make a predicate of items that every error fulfils."""

    def test(item: Ok[V] | Err[E]) -> bool:
        return isinstance(item, Err) or bool(predicate(item.value))

    return test


def _inner(
    item: Ok[Streamable[Ok[W] | Err[F]]] | Err[E],
) -> Streamable[Ok[W] | Err[E | F]]:
    if isinstance(item, Ok):
        return cast("Streamable[Ok[W] | Err[E | F]]", item.value)
    return (item,)


def _work(
    source: Stage[Ok[Callable[[], Awaitable[Ok[W] | Err[F]]]] | Err[E]],
) -> Stage[Ok[W] | Err[E | F] | Work[Ok[W] | Err[E | F]]]:
    def unwrap(
        item: Ok[Callable[[], Awaitable[Ok[W] | Err[F]]]] | Err[E],
    ) -> Ok[W] | Err[E | F] | Work[Ok[W] | Err[E | F]]:
        return item.value if isinstance(item, Ok) else item

    return fuse(source, mapping(unwrap))

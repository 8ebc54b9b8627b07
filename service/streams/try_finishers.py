"""Methods that run a stream of ``Ok`` and ``Err`` until the first ``Err``, and close it."""

from collections.abc import Awaitable, Callable
from functools import partial
from inspect import isawaitable
from typing import TypeVar, cast

from service.streams.buffer_unordered import BufferUnordered
from service.streams.fused import fuse, mapping
from service.streams.owned import Owned
from service.streams.result import Err, Ok
from service.streams.stage import ANY, at_least_one

T_co = TypeVar("T_co", covariant=True)
A = TypeVar("A")
V = TypeVar("V")
E = TypeVar("E")
F = TypeVar("F")


class TryFinishers(Owned[T_co]):
    """``try_collect``, ``try_for_each`` and their like.

    Each stops at the first ``Err``, of the stream or of its function, and returns it.  Apart
    from ``try_next``, each consumes the stream and closes it, also when it is cancelled or a
    function raises.  Functions may be sync or async.
    """

    async def try_next(self: "Owned[Ok[V] | Err[E]]") -> Ok[V | None] | Err[E]:
        """Return the next item, or ``Ok(None)`` at the end.

        Cancel safety: a cancelled call has taken nothing.
        """
        following: Ok[V] | Err[E] | Ok[None] = await anext(self, Ok(None))
        return following

    async def try_collect(self: "Owned[Ok[V] | Err[E]]") -> Ok[list[V]] | Err[E]:
        """Return all values; those before an error are dropped."""
        async with self:
            values: list[V] = []
            async for item in self:
                if isinstance(item, Err):
                    return item
                values.append(item.value)
            return Ok(values)

    async def try_fold(
        self: "Owned[Ok[V] | Err[E]]",
        initial: A,
        function: Callable[[A, V], Awaitable[Ok[A] | Err[F]] | Ok[A] | Err[F]],
    ) -> Ok[A] | Err[E | F]:
        """Return ``function(… function(initial, first) …, last)`` of the values."""
        async with self:
            state = initial
            async for item in self:
                if isinstance(item, Err):
                    return item
                answer: Ok[A] | Err[F] = await _settled(function(state, item.value))
                if isinstance(answer, Err):
                    return answer
                state = answer.value
            return Ok(state)

    async def try_for_each(
        self: "Owned[Ok[V] | Err[E]]",
        function: Callable[[V], Awaitable[Ok[object] | Err[F]] | Ok[object] | Err[F]],
    ) -> Ok[None] | Err[E | F]:
        """Call ``function(value)`` for every value, one after the other."""
        async with self:
            async for item in self:
                if isinstance(item, Err):
                    return item
                answer: Ok[object] | Err[F] = await _settled(function(item.value))
                if isinstance(answer, Err):
                    return answer
            return Ok(None)

    async def try_for_each_concurrent(
        self: "Owned[Ok[V] | Err[E]]",
        limit: int | None,
        function: Callable[[V], Awaitable[Ok[object] | Err[F]]],
    ) -> Ok[None] | Err[E | F]:
        """Run ``function(value)`` for every value, at most ``limit`` at once.

        The first ``Err`` cancels and awaits what runs.

        Raises:
            ValueError: If ``limit`` is less than 1.
        """

        def work(
            item: Ok[V] | Err[E],
        ) -> Callable[[], Awaitable[Ok[object] | Err[F]]] | Ok[object] | Err[E | F]:
            return partial(function, item.value) if isinstance(item, Ok) else item

        room = ANY if limit is None else at_least_one("limit", limit)
        calls = fuse(self._into_stage(), mapping(work))
        results = self._derived(BufferUnordered[Ok[object] | Err[E | F]](calls, room, None, 0))
        async with results:
            async for result in results:
                if isinstance(result, Err):
                    return result
            return Ok(None)

    async def try_any(
        self: "Owned[Ok[V] | Err[E]]", predicate: Callable[[V], Awaitable[object] | object]
    ) -> Ok[bool] | Err[E]:
        """Return whether ``predicate(value)`` is true for a value, asking none after it."""
        async with self:
            async for item in self:
                if isinstance(item, Err):
                    return item
                if await _settled(predicate(item.value)):
                    return Ok(value=True)
            return Ok(value=False)

    async def try_all(
        self: "Owned[Ok[V] | Err[E]]", predicate: Callable[[V], Awaitable[object] | object]
    ) -> Ok[bool] | Err[E]:
        """Return whether ``predicate(value)`` is true for every value."""
        async with self:
            async for item in self:
                if isinstance(item, Err):
                    return item
                if not await _settled(predicate(item.value)):
                    return Ok(value=False)
            return Ok(value=True)

    async def try_concat(self: "Owned[Ok[list[V]] | Err[E]]") -> Ok[list[V]] | Err[E]:
        """Return the items of all lists in one."""
        async with self:
            values: list[V] = []
            async for item in self:
                if isinstance(item, Err):
                    return item
                values += item.value
            return Ok(values)


async def _settled(answer: Awaitable[A] | A) -> A:
    return cast("A", await answer if isawaitable(answer) else answer)

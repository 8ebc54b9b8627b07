"""``Peekable``: a stream that can be looked at before an item is taken."""

from collections.abc import Callable
from typing import TypeVar, overload

from service.streams.stage import ANY
from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
D = TypeVar("D")


class Peekable(Stream[T_co]):
    """The same items; what was looked at is what iteration returns next.

    Methods return ``default`` at the end, as the builtin ``anext`` does.  All are cancel-safe.
    """

    @overload
    async def peek(self) -> T_co | None: ...

    @overload
    async def peek(self, default: D) -> T_co | D: ...

    async def peek(self, default: object = None) -> object:
        """Return the next item and leave it in its place."""
        if not self._held:
            chunk = await self._pull(ANY)
            if chunk is None:
                return default
            self._held.extend(chunk)
        return self._held[0]

    @overload
    async def next_if(self, predicate: Callable[[T_co], object]) -> T_co | None: ...

    @overload
    async def next_if(self, predicate: Callable[[T_co], object], default: D) -> T_co | D: ...

    async def next_if(self, predicate: Callable[[T_co], object], default: object = None) -> object:
        """Take the next item if ``predicate(item)`` is true, else leave it in its place."""
        await self.peek()
        if self._held and predicate(self._held[0]):
            return self._held.popleft()
        return default

    @overload
    async def next_if_eq(self, expected: object) -> T_co | None: ...

    @overload
    async def next_if_eq(self, expected: object, default: D) -> T_co | D: ...

    async def next_if_eq(self, expected: object, default: object = None) -> object:
        """Take the next item if it equals ``expected``, else leave it in its place."""
        return await self.next_if(_equal_to(expected), default)


def _equal_to(expected: object) -> Callable[[object], bool]:
    return lambda item: item == expected

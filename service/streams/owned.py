"""Who owns a stream: iteration, moving it into a combinator, borrowing it, closing it.

A stream has one owner.  A combinator takes its source over (Rust would say: moves it), so that
closing the last of a chain closes all of it; using the source afterwards is an error rather
than a race for its items.  ``by_ref`` lends a stream instead.
"""

import warnings
from collections import deque
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from service.errors import StreamError
from service.streams.sources import Prefixed
from service.streams.stage import ANY, Stage

if TYPE_CHECKING:
    from service.streams.stream import Stream

T_co = TypeVar("T_co", covariant=True)
U = TypeVar("U")


class Owned(Generic[T_co]):
    """The core of every stream; the combinators are added by the classes built on it.

    Args:
        stage: Where the items come from.
    """

    _closed = True  # until it is built: a constructor that raises leaves nothing to close

    def __init__(self, stage: Stage[T_co]) -> None:
        self._stage = stage
        self._held: deque[T_co] = deque()
        self._moved = False
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T_co:
        """Return the next item; at the end the stream closes itself.

        Cancel safety: a cancelled call has taken nothing.
        """
        if self._held:
            return self._held.popleft()
        chunk = await self._pull(ANY)
        if chunk is None:
            await self.aclose()
            raise StopAsyncIteration
        self._held.extend(chunk)
        return self._held.popleft()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        if not self._closed and not self._moved and self._stage.working:
            warnings.warn(
                f"{type(self).__name__} was dropped while its tasks run; "
                "use `async with`, or await aclose()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    async def aclose(self) -> None:
        """End the stream: cancel and await everything that it and its sources have running.

        Items that were not handed out are dropped.  Closing twice does nothing more, and
        closing a stream that was moved into a combinator is left to that combinator.
        """
        if self._moved:
            return
        self._closed = True
        self._held.clear()
        await self._stage.aclose()

    def by_ref(self) -> "Stream[T_co]":
        """Lend the stream: combinators of the loan leave this stream usable afterwards.

        The loan takes items one at a time and only when they are asked for, never a chunk
        ahead, so what it does not use is still here.  Closing it closes nothing.  A combinator
        that waits for several things at once (``timeout``, ``merge``, ``take_until``, …) goes on
        asking while a wait for it is cancelled: close it then, and the one item that came since
        is gone with it.
        """
        return self._derived(_Loan(self))

    async def _pull(self, limit: int) -> list[T_co] | None:
        """Take the next items, those first that iteration holds."""
        if self._moved:
            raise StreamError("the stream was moved into a combinator; lend it with by_ref()")
        if self._held:
            return [self._held.popleft() for _ in range(min(limit, len(self._held)))]
        return await self._stage.pull(limit)

    def _into_stage(self) -> Stage[T_co]:
        """Give the stream away; whoever gets it closes it."""
        if self._moved:
            raise StreamError("the stream was moved into a combinator; lend it with by_ref()")
        self._moved = True
        if not self._held:
            return self._stage
        held, self._held = self._held, deque()  # nobody finds them here any more
        return Prefixed(held, self._stage)

    def _derived(self, stage: Stage[U]) -> "Stream[U]":
        """Make a stream of a stage."""
        raise NotImplementedError


class _Loan(Stage[T_co]):
    """Items of a stream that somebody else owns and closes."""

    def __init__(self, lender: Owned[T_co]) -> None:
        super().__init__()
        self._lender = lender

    async def _pull(self, limit: int) -> list[T_co] | None:
        del limit  # never ahead of what is asked for
        return await self._lender._pull(1)  # noqa: SLF001 -- the other half of Owned

"""What every stream is made of: a stage that is pulled for the next list of items.

A stage moves lists; nobody outside this package sees one.  The rules that make the public
promises true are kept here, once, for all of them:

* ``pull`` never returns more than it was asked for, so nobody takes more than he needs;
* a cancelled ``pull`` has lost nothing: whatever it had is handed out by the next one;
* after the end, or after an error, ``pull`` returns ``None`` for ever and asks nobody (fused);
* ``aclose`` cancels and awaits what the stage started, then closes what it pulls from.
"""

import asyncio
import sys
from typing import Final, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)

ANY: Final = sys.maxsize
"""The limit of a pull that takes whatever there is."""

CHUNK: Final = 256
"""Most items that a source hands out at once when it is not told otherwise.

Large enough that the cost per chunk disappears beside the cost per item, small enough that one
chunk of real work does not hold the event loop for long.
"""


class Stage(Generic[T_co]):
    """One step of a stream.

    Subclasses write ``_pull`` and, when they start tasks or timers, ``_stop`` and ``working``.

    Args:
        sources: The stages that this one pulls from, and therefore owns.
    """

    def __init__(self, *sources: "Stage[object]") -> None:
        self._sources = sources
        self._ended = False

    async def pull(self, limit: int) -> list[T_co] | None:
        """Wait for at least one item and return what is there, up to ``limit`` (at least 1).

        The list belongs to the caller.  ``None`` means the end, and is repeated for ever.

        Cancel safety: a cancelled ``pull`` has lost no item.
        """
        if self._ended:
            return None
        try:
            chunk = await self._pull(limit)
        except Exception:
            self._ended = True
            raise
        if chunk is None:
            self._ended = True
        return chunk

    async def aclose(self) -> None:
        """End the stage: cancel and await what it started, then close what it pulls from.

        Closing twice does nothing more.
        """
        self._ended = True
        try:
            await self._stop()
        finally:
            await close_all(self._sources)

    @property
    def working(self) -> bool:
        """Whether tasks run on behalf of this stage or of one that it owns."""
        return any(source.working for source in self._sources)

    async def _pull(self, limit: int) -> list[T_co] | None:
        raise NotImplementedError

    async def _stop(self) -> None:
        """Cancel and await what this stage itself started."""


async def close_all(stages: "tuple[Stage[object], ...]") -> None:
    """Close every stage, also when closing one of them fails or is cancelled."""
    if not stages:
        return
    try:
        await stages[0].aclose()
    finally:
        await close_all(stages[1:])


class Budget:
    """Lets other tasks run although items never run out.

    An ``await`` that has its item ready does not pass through the event loop, so a source that
    always has one would keep every other task waiting.  A source spends its budget before it
    takes items; every 128 of them (tokio's figure) cost one pass through the loop.
    """

    __slots__ = ("_spent",)

    ITEMS: Final = 128

    def __init__(self) -> None:
        self._spent = 0

    async def renew(self) -> None:
        """Let the loop turn once if the budget is spent.

        Cancel safety: call it before an item is taken; there is nothing to lose then.
        """
        if self._spent >= self.ITEMS:
            self._spent = 0
            await asyncio.sleep(0)

    def spend(self, count: int) -> None:
        """Record that ``count`` items were handed out."""
        self._spent += count

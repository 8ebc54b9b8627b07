"""What every stream is made of: a stage that is pulled for the next list of items.

A stage moves lists; nobody outside this package sees one.  The rules that make the public
promises true are kept here, once, for all of them:

* ``pull`` never returns more than it was asked for, so nobody takes more than it needs;
* a cancelled ``pull`` has lost nothing: whatever it had is handed out by the next one;
* after the end, or after an error, ``pull`` returns ``None`` for ever and asks nobody (fused),
  and what the stage started or owned is gone;
* ``aclose`` cancels and awaits what the stage started, then closes what it pulls from.
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar

from service.streams.children import Children, end_all

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

    Subclasses write ``_pull``; those that own tasks, timers or more say so through the methods
    after it.

    Args:
        sources: The stages that this one pulls from, and therefore owns.
    """

    def __init__(self, *sources: "Stage[object]") -> None:
        self._sources = sources
        self._over = False  # `_pull` is not called any more
        self._ended = False  # and nothing runs any more
        self._released = False
        self._families: tuple[Children, ...] = ()
        self._last_error: Exception | None = None

    async def pull(self, limit: int) -> list[T_co] | None:
        """Wait for at least one item and return what is there, up to ``limit`` (at least 1).

        The list belongs to the caller.  ``None`` means the end, and is repeated for ever.  When
        it, or an exception, is reported, no task runs on behalf of the stage any more, and it has
        let go of all that it owns.

        Cancel safety: a cancelled ``pull`` has lost no item, nor the exception.
        """
        if self._ended:
            return None
        if not self._over:
            try:
                chunk = await self._pull(limit)
            except Exception as error:  # noqa: BLE001 -- raised below, when nothing runs any more
                self._last_error = error
            else:
                if chunk is not None and not self._ended:  # nor closed meanwhile
                    return chunk
            self._over = True
        await self._dismiss()
        await self._let_go()
        self._ended = True
        if self._last_error is not None:
            raise self._last_error
        return None

    async def aclose(self) -> None:
        """End the stage: cancel and await what it started, then close what it pulls from.

        Whoever waits in ``pull`` meanwhile is told that this is the end.  Closing twice does
        nothing more.  Cancel safety: when cancelled, it still finishes.
        """
        self._over = self._ended = True
        self._halt()
        stages = tuple(self._owned_stages())
        try:
            await end_all(self._owned_tasks())
        finally:
            try:
                await self._release_once()
            finally:
                await close_all(stages)

    @property
    def working(self) -> bool:
        """Whether tasks run on behalf of this stage or of one that it owns."""
        return any(map(bool, self._owned_tasks())) or any(
            stage.working for stage in self._owned_stages()
        )

    async def _pull(self, limit: int) -> list[T_co] | None:
        raise NotImplementedError

    def _own_children(self, wake: Callable[[], None]) -> Children:
        """Where this stage starts tasks, which end with it; ``wake`` is called for their news."""
        children = Children(wake)
        self._families = (*self._families, children)
        return children

    def _owned_tasks(self) -> Iterable[Children]:
        """The tasks that this stage started."""
        return self._families

    def _owned_stages(self) -> "Iterable[Stage[object]]":
        """The stages that are closed with this one."""
        return self._sources

    def _halt(self) -> None:
        """Start nothing more: drop what waits, cancel timers.  May be called twice."""

    async def _release(self) -> None:
        """Let go of the rest, when no task runs any more; called again only if it is cancelled."""

    async def _release_once(self) -> None:
        released = True
        try:
            if not self._released:
                await self._release()
        except asyncio.CancelledError:
            released = False
            raise
        finally:
            self._released = self._released or released

    async def _let_go(self) -> None:
        """Release everything, as ``aclose`` does, but as part of a pull: no task runs any more.

        Cancel safety: a cancelled call stops waiting at once and may be repeated.
        """
        await self._release_once()
        for stage in self._owned_stages():
            await stage._let_go()  # noqa: SLF001 -- the same for what it owns

    async def _dismiss(self) -> None:
        """Cancel every task and wait for its end, as ``aclose`` does, but as part of a pull.

        Cancel safety: a cancelled call stops waiting at once and may be repeated.
        """
        self._halt()
        for children in self._owned_tasks():
            await children.dismiss()
        for stage in self._owned_stages():
            await stage._dismiss()  # noqa: SLF001 -- the same for what it owns


async def close_all(stages: "tuple[Stage[object], ...]") -> None:
    """Close every stage, also when closing one of them fails or is cancelled.

    Raises:
        BaseException: The first of what they raise.
    """
    failure: BaseException | None = None
    for stage in stages:
        try:
            await stage.aclose()
        except BaseException as error:  # noqa: BLE001 -- raised below, when all are closed
            failure = failure or error
    if failure is not None:
        raise failure


def at_least_one(name: str, value: int) -> int:
    """Return ``value``.

    Raises:
        ValueError: If it is less than 1.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, not {value}")
    return value


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

"""Takes what comes from an iterator that may wait for ever, as standard input does, as it comes.

The iterator is read in a thread that nobody waits for: a read cannot be interrupted, and whoever
presses Ctrl-C must not have to type another line first.
"""

import asyncio
import queue
import threading
from collections.abc import Iterator
from itertools import islice
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Takes(Protocol[T]):
    """Whoever gives items, a few at a time."""

    async def take(self, count: int) -> list[T]:
        """The next items, at most ``count``; none at the end."""
        ...


class Ready(Generic[T]):
    """What an iterator gives that never waits; each item is made when it is taken."""

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items

    async def take(self, count: int) -> list[T]:
        """See :class:`Takes`."""
        return list(islice(self._items, count))


class Feed(Generic[T]):
    """What an iterator gives, in its order.  Make it in a running loop.

    Args:
        items: Read in a thread of its own, from now on.
        ahead: Most items that are read before somebody takes them.
    """

    def __init__(self, items: Iterator[T], ahead: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._read: queue.Queue[T] = queue.Queue(ahead)
        self._changed = asyncio.Event()
        self._awaited = False  # or the loop would be woken for every item
        self._ended = False
        self._error: Exception | None = None
        threading.Thread(target=self._run, args=(items,), name="feed", daemon=True).start()

    def stop(self) -> None:
        """Read nothing more; what was read is still to be taken.  Call it in the loop."""
        self._ended = True
        self._changed.set()

    async def take(self, count: int) -> list[T]:
        """The next items, as many as are there and at most ``count``; none at the end.

        Cancel safety: nothing is taken by a cancelled call.

        Raises:
            Exception: What the iterator raised, after what it gave before.
        """
        while self._read.empty() and not self._ended:
            self._changed.clear()
            self._awaited = True
            # not lost between the two: the thread puts first and tells then
            if self._read.empty() and not self._ended:
                await self._changed.wait()
        found: list[T] = []
        while len(found) < count:
            try:
                found.append(self._read.get_nowait())
            except queue.Empty:
                break
        if not found and self._error is not None:
            raise self._error
        return found

    def _run(self, items: Iterator[T]) -> None:
        try:
            for item in items:
                self._read.put(item)
                if self._ended:
                    return
                if self._awaited:
                    self._awaited = False
                    self._loop.call_soon_threadsafe(self._changed.set)
        except Exception as error:  # noqa: BLE001 -- raised where the items are taken
            self._error = error
        try:
            self._loop.call_soon_threadsafe(self.stop)
        except RuntimeError:
            return  # the loop is closed: nobody waits any more

"""Output that is not acknowledged yet, by topic, and who waits for it to become less.

One topic that takes nothing must not stop those who write to others.  So there is room that all
topics have in common, and as much again of which each has a share of its own: when one has filled
what is common, everybody else still has its share, and all of it together stays bounded.
"""

import asyncio
from collections.abc import Generator, Sequence
from typing import Any, Final

COMMON_BYTES: Final = 8 * 1024 * 1024
"""Unacknowledged output above which only topics with less than their share take more."""
OWN_BYTES: Final = 8 * 1024 * 1024
"""What all shares are together."""


class Share:
    """What of the output is for one topic.

    Args:
        shares: All of them.

    Attributes:
        size_bytes: Its size.
    """

    __slots__ = ("_shares", "room", "size_bytes")

    def __init__(self, shares: "Shares") -> None:
        self._shares = shares
        self.size_bytes = 0
        self.room = asyncio.Event()
        self.room.set()

    def add(self, records: int, size_bytes: int) -> None:
        """More was queued; :meth:`Shares.look` follows when the run of calls has ended."""
        shares = self._shares
        shares.records += records
        shares.size_bytes += size_bytes
        self.size_bytes += size_bytes
        shares.grown.add(self)

    def settle(self, records: int, size_bytes: int) -> None:
        """Some of it is durable, or nobody's any more."""
        self.size_bytes -= size_bytes
        self._shares.settled(self, records, size_bytes)


class Room:
    """Awaited, waits until topics that hold too much hold less; need not be.  Cancel safe."""

    __slots__ = ("_full",)

    def __init__(self, full: Sequence[Share]) -> None:
        self._full = full

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for one after the other."""
        for share in self._full:
            yield from share.room.wait().__await__()


class Shares:
    """Counts what was added and is not settled.

    Args:
        common_bytes: What all topics may hold together, whatever each of them holds.
        own_bytes: What they may hold beyond that, an equal part each.

    Attributes:
        records: Records of all topics.
        size_bytes: Their size.
        grown: What was added to since :meth:`look`.
    """

    def __init__(self, common_bytes: int = COMMON_BYTES, own_bytes: int = OWN_BYTES) -> None:
        self._common_bytes = common_bytes
        self._own_bytes = own_bytes
        self._of: dict[str, Share] = {}
        self._waited_for: set[Share] = set()
        self._full: Sequence[Share] = ()
        self._empty = asyncio.Event()
        self._empty.set()
        self.records = 0
        self.size_bytes = 0
        self.grown: set[Share] = set()

    def of(self, topic: str) -> Share:
        """The share of ``topic``, made when first asked for."""
        share = self._of.get(topic)
        if share is None:
            share = self._of[topic] = Share(self)
        return share

    @property
    def own_bytes(self) -> int:
        """What a topic may hold when all that they have in common is full."""
        return self._own_bytes // max(1, len(self._of))

    def bound(self, common_bytes: int) -> None:
        """What all topics may hold together, from the next :meth:`look` or settling on."""
        self._common_bytes = common_bytes

    def look(self) -> None:
        """Let those wait who have to, now that a run of :meth:`Share.add` has ended."""
        self._empty.clear()
        if self.size_bytes <= self._common_bytes:
            self._full = ()
        else:
            own_bytes = self.own_bytes
            self._full = [share for share in self.grown if share.size_bytes > own_bytes]
            for share in self._full:
                share.room.clear()
            self._waited_for.update(self._full)
        self.grown.clear()

    def settled(self, share: Share, records: int, size_bytes: int) -> None:
        """Some of ``share`` is gone."""
        self.records -= records
        self.size_bytes -= size_bytes
        if self._waited_for:
            if self.size_bytes <= self._common_bytes:
                for other in self._waited_for:
                    other.room.set()
                self._waited_for.clear()
            elif share.size_bytes <= self.own_bytes:
                share.room.set()
                self._waited_for.discard(share)
        if not self.records:
            self._empty.set()

    @property
    def full(self) -> bool:
        """Whether a topic that had something added before the last :meth:`look` holds too much."""
        return bool(self._full) and any(not share.room.is_set() for share in self._full)

    def room(self) -> Room:
        """What to await before more is added to what was added to before :meth:`look`."""
        return Room(self._full)

    async def empty(self) -> None:
        """Wait until there is nothing.  Cancel safe."""
        await self._empty.wait()

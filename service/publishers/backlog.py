"""Output that is not acknowledged yet, and who waits for it to become less."""

import asyncio
from typing import Final

PENDING_BYTES_MAX: Final = 8 * 1024 * 1024
"""Unacknowledged output at which publishing waits."""


class Backlog:
    """Counts what was added and is not settled.

    Args:
        limit_bytes: Above this size :meth:`room` waits.

    Attributes:
        records: Records of it.
        size_bytes: Their size.
    """

    __slots__ = ("_empty", "_limit_bytes", "_room", "records", "size_bytes")

    def __init__(self, limit_bytes: int = PENDING_BYTES_MAX) -> None:
        self._limit_bytes = limit_bytes
        self.records = 0
        self.size_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()

    def add(self, records: int, size_bytes: int) -> None:
        """More was queued; :meth:`look` follows when the run of calls has ended."""
        self.records += records
        self.size_bytes += size_bytes

    def look(self) -> None:
        """Let those wait who have to, now that something was added."""
        self._empty.clear()
        if self.size_bytes > self._limit_bytes:
            self._room.clear()

    def settle(self, records: int, size_bytes: int) -> None:
        """Some of it is durable, or nobody's any more."""
        self.records -= records
        self.size_bytes -= size_bytes
        if self.size_bytes <= self._limit_bytes:
            self._room.set()
        if not self.records:
            self._empty.set()

    @property
    def full(self) -> bool:
        """Whether :meth:`room` would wait."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Wait until there is no more than the limit.  Cancel safe."""
        await self._room.wait()

    async def empty(self) -> None:
        """Wait until there is nothing.  Cancel safe."""
        await self._empty.wait()

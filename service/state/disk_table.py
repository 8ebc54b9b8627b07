"""A table of keyed state of which only the keys in use are in memory."""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, takewhile
from typing import Any, Final

import structlog

from service.errors import StateTypeError
from service.state.disk import Disk
from service.state.records import Serde
from service.state.table import JSON, NO_BYTES, Table

log = structlog.get_logger(__name__)

_AT: Final = struct.Struct(">QQ")
"""When a key was put, in microseconds above :data:`_EPOCH`, and its turn among equals.

It stands in front of the value, and of the key in the index by age, where it sorts as bytes.
"""
_EPOCH: Final = 2**62
"""Added to times, which are negative for keys older than the clock."""


class _Entry:
    """A key in memory.

    Attributes:
        value: Its value; ``None`` if it is known not to have one.
        put_at_s: When it was put.
        turn: Its turn among those put at the same time.
        disk_at: Both as the disk has them, or nothing.
        fresh: Whether the disk has something else.
    """

    __slots__ = ("disk_at", "fresh", "put_at_s", "turn", "value")

    def __init__(self, value: Any = None, disk_at: bytes = b"") -> None:
        self.value = value
        self.put_at_s, self.turn = _put_at(disk_at) if disk_at else (0.0, 0)
        self.disk_at = disk_at
        self.fresh = False

    def at(self) -> bytes:
        """When it was put, and its turn, for the disk."""
        return _at(self.put_at_s, self.turn)


def _at(put_at_s: float, turn: int) -> bytes:
    return _AT.pack(int(put_at_s * 1e6) + _EPOCH, turn)


def _put_at(at: bytes) -> tuple[float, int]:
    stamp, turn = _AT.unpack(at)
    return (stamp - _EPOCH) / 1e6, turn


class DiskTable(Table):
    """A :class:`~service.state.table.Table` of which only the keys in use are in memory.

    Args:
        disk: Where the others are.
        clock: As for the memory's.
        ttl_s: As for the memory's.
        max_keys: As for the memory's.
        serde: As for the memory's.
    """

    __slots__ = (
        "_ages",
        "_cache",
        "_count",
        "_disk",
        "_prefix",
        "_read",
        "_turn",
        "_values",
    )

    def __init__(
        self,
        disk: Disk,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        serde: Serde = JSON,
    ) -> None:
        super().__init__(clock, ttl_s=ttl_s, max_keys=max_keys, serde=serde)
        self._disk = disk
        self._prefix = disk.prefix()
        self._values = self._prefix + b"v"
        self._ages = self._prefix + b"a"
        self._cache: dict[str, _Entry] = {}
        self._count = 0
        self._read: set[str] = set()
        self._turn = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: str) -> Any:
        """See :meth:`service.state.table.Table.get`."""
        entry = self._entry(key)
        return None if self._over(entry) else entry.value

    def peek(self, key: str) -> Any:
        """See :meth:`service.state.table.Table.peek`."""
        return self._entry(key).value

    def peek_many(self, keys: Iterable[str]) -> list[Any]:
        """See :meth:`service.state.table.Table.peek_many`."""
        return [self._entry(key).value for key in keys]

    def load(self, changes: Mapping[str, tuple[bytes | None, float]]) -> None:
        """See :meth:`service.state.table.Table.load`; nothing of it comes into memory."""
        now_s = self._clock()
        self._write()
        batch = self._disk.batch()
        names = [self._values + key.encode() for key in changes]
        start = len(self._values)
        for name, before, (key, (stored, age_s)) in zip(
            names, self._disk.read(names), changes.items(), strict=True
        ):
            self._cache.pop(key, None)
            if before is not None:
                self._count -= 1
                batch.delete(self._ages + before[: _AT.size] + name[start:])
                batch.delete(name)
            if stored is None:
                continue
            self._count += 1
            self._turn += 1
            at = _at(now_s - max(0.0, age_s), self._turn)
            batch.put(name, at + stored)
            batch.put(self._ages + at + name[start:], b"")
        if not batch.is_empty():
            self._disk.write(batch)

    def put(self, key: str, value: Any) -> Any:
        """See :meth:`service.state.table.Table.put`."""
        if type(value) is bytes:
            raise StateTypeError(NO_BYTES)
        now_s = self._clock()
        if self._ttl_s is not None and now_s >= self._sweep_at_s:
            self.sweep()
        entry = self._entry(key)
        if entry.value is None and self._count >= self._max_keys:
            self._evict()
            entry = self._entry(key)  # it may have left memory meanwhile
        # whatever the disk refuses, it has by now: a put that fails has changed nothing
        before = None if self._over(entry) else entry.value
        self._count += entry.value is None
        self._turn += 1
        entry.value, entry.put_at_s, entry.turn = value, now_s, self._turn
        entry.fresh = True
        return before

    def reader(self) -> Callable[[str], Any]:
        """See :meth:`service.state.table.Table.reader`.

        What is read stays in memory until the next reader: it may be changed in place and read
        again before it is put.
        """
        self._read = known = set[str]()

        def read(key: str) -> Any:
            known.add(key)
            return self.get(key)

        return read

    def put_many(self, values: Mapping[str, Any]) -> list[Any]:
        """See :meth:`service.state.table.Table.put_many`."""
        if bytes in set(map(type, values.values())):
            raise StateTypeError(NO_BYTES)
        return [self.put(key, value) for key, value in values.items()]

    def delete(self, key: str) -> Any:
        """See :meth:`service.state.table.Table.delete`."""
        before = self.get(key)
        self._remove(key)
        return before

    def items(self) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.table.Table.items`."""
        yield from self.survey(lambda value: value, self._serde.deserialize)

    def _held(self) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.table.Table._held`; what is on disk comes as its bytes."""
        self._write()
        start = len(self._values)
        for name, stored in self._disk.scan(self._values):
            key = name[start:].decode()
            cached = self._cache.get(key)
            yield key, stored[_AT.size :] if cached is None else cached.value

    def close(self) -> None:
        """See :meth:`service.state.table.Table.close`."""
        self._cache.clear()
        self._read.clear()
        if self._disk.db is not None:
            self._disk.remove(self._prefix)

    # -- memory and disk -------------------------------------------------------------------

    def _entry(self, key: str) -> _Entry:
        """What is known of ``key``, from now on in memory."""
        entry = self._cache.pop(key, None)
        if entry is None:
            if len(self._cache) - len(self._read) >= self._disk.cache_keys:
                self._spill()
            stored = self._disk.read(self._values + key.encode())
            entry = _Entry() if stored is None else self._decoded(key, stored)
        self._cache[key] = entry  # at the end: what was used longest ago leaves first
        return entry

    def _over(self, entry: _Entry) -> bool:
        return self._ttl_s is not None and self._clock() - entry.put_at_s >= self._ttl_s

    def _decoded(self, key: str, stored: bytes) -> _Entry:
        value = self._deserialize(key, stored[_AT.size :])
        entry = _Entry(value, stored[: _AT.size])
        if value is None:
            self._count -= 1
            entry.fresh = True
        return entry

    def _spill(self) -> None:
        """Let half of the keys in memory leave it, as far as they are on disk.

        Those that a run of events reads stay.
        """
        self._write()
        leaving = [key for key in self._cache if key not in self._read]
        for key in leaving[: max(1, len(leaving) // 2)]:
            if not self._cache[key].fresh:
                del self._cache[key]

    def _write(self) -> None:
        """Bring the disk up to date, but for values that are no JSON.

        These stay in memory until whoever writes the changelog drops them, and says so.  If the
        disk takes nothing, everything stays.
        """
        batch = self._disk.batch()
        written: list[tuple[_Entry, bytes]] = []
        for key, entry in self._cache.items():
            if not entry.fresh:
                continue
            try:
                stored = None if entry.value is None else self._serde.serialize(entry.value)
            except TypeError:
                continue
            name = key.encode()
            at = b"" if stored is None else entry.at()
            if entry.disk_at:
                batch.delete(self._ages + entry.disk_at + name)
            if stored is None:
                batch.delete(self._values + name)
            else:
                batch.put(self._values + name, at + stored)
                batch.put(self._ages + at + name, b"")
            written.append((entry, at))
        if not batch.is_empty():
            self._disk.write(batch)
        for entry, at in written:
            entry.fresh, entry.disk_at = False, at

    def _put_by(self, at_s: float) -> list[str]:
        return [key for key, _ in takewhile(lambda put: put[1] <= at_s, self._by_age())]

    def _oldest(self, count: int) -> list[str]:
        return [key for key, _ in islice(self._by_age(), count)]

    def _by_age(self) -> Iterator[tuple[str, float]]:
        """Every key, those put longest ago first, and when that was."""
        self._write()
        start, end = len(self._ages), len(self._ages) + _AT.size
        for name, _ in self._disk.scan(self._ages):
            yield name[end:].decode(), _put_at(name[start:end])[0]

    def _remove(self, key: str) -> None:
        entry = self._entry(key)
        if entry.value is not None:
            self._count -= 1
            entry.value, entry.fresh = None, True

"""State for more keys than fit into memory: what is not in use lies in a RocksDB of the process.

The disk extends the memory of one process and is nothing more: the changelog is what survives.
So it is written without a log of its own, and whatever an earlier process has left is removed at
the start, because only a changelog that was read to its end is known to be in step.
"""

import fcntl
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from service.errors import ConfigurationError
from service.state.keyed import Codec
from service.state.records import decode_value, encode_value
from service.state.table import EVICT_SHARE, SWEEP_SHARE, Table

_PREFIX: Final = "headrace-state-"
_OWNER: Final = "owner"
_AT: Final = struct.Struct(">QQ")
"""When a key was put, in microseconds above :data:`_EPOCH`, and its turn among equals.

It stands in front of the value, and of the key in the index by age, where it sorts as bytes.
"""
_EPOCH: Final = 2**62
"""Added to times, which are negative for keys older than the clock."""
_WRITE_BUFFER_BYTES: Final = 8 * 1024 * 1024
_BLOOM_BITS: Final = 10


class Disk:
    """The database of a process, in a directory of its own.

    Args:
        directory: Where directories of processes are made; ``None`` is the system's for
            temporary files.
        cache_bytes: Memory for blocks of the disk.
        cache_keys: Keys of a table that stay in memory.

    Raises:
        ConfigurationError: If the package for it is not installed.
    """

    def __init__(self, directory: Path | None, *, cache_bytes: int, cache_keys: int) -> None:
        try:
            import rocksdict  # noqa: PLC0415 -- an extra
        except ImportError:
            raise ConfigurationError(
                ["state.store: rocksdb needs the extra: pip install 'headrace[rocksdb]'"]
            ) from None
        self._rocksdict = rocksdict
        self._root = Path(tempfile.gettempdir()) if directory is None else directory
        self._cache_bytes = cache_bytes
        self._cache_keys = cache_keys
        self._tables = 0
        self._owner: int | None = None
        self.directory: Path | None = None
        self.db: Any = None
        self.write_options: Any = None

    def open(self) -> None:
        """Make the database, and remove those of processes that are gone; blocks."""
        self._root.mkdir(parents=True, exist_ok=True)
        self._remove_abandoned()
        self.directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
        # a bare descriptor: it is given up with the process, and nobody else is to do so
        self._owner = os.open(self.directory / _OWNER, os.O_CREAT | os.O_WRONLY)
        fcntl.flock(self._owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        rocksdict = self._rocksdict
        options = rocksdict.Options(raw_mode=True)
        options.set_write_buffer_size(_WRITE_BUFFER_BYTES)
        options.set_max_write_buffer_number(2)
        blocks = rocksdict.BlockBasedOptions()
        blocks.set_block_cache(rocksdict.Cache(self._cache_bytes))
        blocks.set_bloom_filter(_BLOOM_BITS, block_based=False)
        # Indexes and filters stay beside that cache, two bytes a key: in it they would push each
        # other out, and a look at one key would read a filter of half a megabyte.
        options.set_block_based_table_factory(blocks)
        self.write_options = rocksdict.WriteOptions()
        self.write_options.disable_wal = True
        self.db = rocksdict.Rdict(str(self.directory / "db"), options)
        self.db.set_write_options(self.write_options)

    def close(self) -> None:
        """Remove the database; blocks."""
        if self.db is not None:
            self.db.close()
            self.db = None
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        for directory in self._root.glob(f"{_PREFIX}*"):
            try:
                with (directory / _OWNER).open("rb") as owner:
                    fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(directory, ignore_errors=True)
            except OSError:
                continue  # its process lives, or is about to

    def batch(self) -> Any:
        """Changes that are written together."""
        return self._rocksdict.WriteBatch(raw_mode=True)

    def table(
        self,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        codec: Codec | None = None,
    ) -> "DiskTable":
        """An empty table; arguments as for :class:`~service.state.table.Table`."""
        self._tables += 1
        prefix = self._tables.to_bytes(4, "big")
        return DiskTable(
            self,
            prefix,
            self._cache_keys,
            clock,
            ttl_s=ttl_s,
            max_keys=max_keys,
            codec=codec,
        )


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
        return _AT.pack(int(self.put_at_s * 1e6) + _EPOCH, self.turn)


def _put_at(at: bytes) -> tuple[float, int]:
    stamp, turn = _AT.unpack(at)
    return (stamp - _EPOCH) / 1e6, turn


class DiskTable(Table):
    """A :class:`~service.state.table.Table` of which only the keys in use are in memory.

    Args:
        disk: Where the others are.
        prefix: Of this table's keys there.
        cache_keys: Keys in memory at which half of them leave it.
        clock: As for the memory's.
        ttl_s: As for the memory's.
        max_keys: As for the memory's.
        codec: For values that are not JSON.
    """

    __slots__ = (
        "_ages",
        "_cache",
        "_cache_keys",
        "_codec",
        "_count",
        "_disk",
        "_prefix",
        "_turn",
        "_values",
    )

    def __init__(
        self,
        disk: Disk,
        prefix: bytes,
        cache_keys: int,
        clock: Callable[[], float],
        *,
        ttl_s: float | None,
        max_keys: int,
        codec: Codec | None,
    ) -> None:
        super().__init__(clock, ttl_s=ttl_s, max_keys=max_keys)
        self._disk = disk
        self._prefix = prefix
        self._values = prefix + b"v"
        self._ages = prefix + b"a"
        self._codec = codec
        self._cache_keys = cache_keys
        self._cache: dict[str, _Entry] = {}
        self._count = 0
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

    def put(self, key: str, value: Any, age_s: float = 0.0) -> Any:
        """See :meth:`service.state.table.Table.put`."""
        entry = self._entry(key)
        before = None if self._over(entry) else entry.value
        self._count += entry.value is None
        now_s = self._clock()
        self._turn += 1
        entry.value, entry.put_at_s, entry.turn = value, now_s - age_s, self._turn
        entry.fresh = True
        if self._ttl_s is not None and now_s >= self._sweep_at_s:
            self.sweep()
        if self._count > self._max_keys:
            self._evict()
        return before

    def reader(self) -> Callable[[str], Any]:
        """See :meth:`service.state.table.Table.reader`."""
        return self.get

    def put_many(self, values: Mapping[str, Any]) -> list[Any]:
        """See :meth:`service.state.table.Table.put_many`."""
        return [self.put(key, value) for key, value in values.items()]

    def delete(self, key: str) -> Any:
        """See :meth:`service.state.table.Table.delete`."""
        before = self.get(key)
        self._remove(key)
        return before

    def items(self) -> Iterator[tuple[str, Any]]:
        """See :meth:`service.state.table.Table.items`."""
        self.sweep()
        self._write()
        start = len(self._values)
        for name, stored in self._scan(self._values):
            key = name[start:].decode()
            cached = self._cache.get(key)
            yield key, self._decoded(stored) if cached is None else cached.value

    def sweep(self) -> int:
        """See :meth:`service.state.table.Table.sweep`."""
        if self._ttl_s is None:
            return 0
        now_s = self._clock()
        self._sweep_at_s = now_s + SWEEP_SHARE * self._ttl_s
        before_s = now_s - self._ttl_s
        return self._leave(lambda put_at_s, _: put_at_s <= before_s)

    def close(self) -> None:
        """See :meth:`service.state.table.Table.close`."""
        self._cache.clear()
        if self._disk.db is not None:
            after = (int.from_bytes(self._prefix, "big") + 1).to_bytes(4, "big")
            self._disk.db.delete_range(self._prefix, after)

    # -- memory and disk -------------------------------------------------------------------

    def _entry(self, key: str) -> _Entry:
        """What is known of ``key``, from now on in memory."""
        entry = self._cache.pop(key, None)
        if entry is None:
            if len(self._cache) >= self._cache_keys:
                self._spill()
            stored = self._disk.db.get(self._values + key.encode())
            known = stored is not None
            entry = _Entry(self._decoded(stored), stored[: _AT.size]) if known else _Entry()
        self._cache[key] = entry  # at the end: what was used longest ago leaves first
        return entry

    def _over(self, entry: _Entry) -> bool:
        return self._ttl_s is not None and self._clock() - entry.put_at_s >= self._ttl_s

    def _decoded(self, stored: bytes) -> Any:
        value = decode_value(stored[_AT.size :])
        return value if self._codec is None else self._codec.decode(value)

    def _spill(self) -> None:
        """Let half of the keys in memory leave it."""
        self._write()
        for key in list(self._cache)[: max(1, len(self._cache) // 2)]:
            del self._cache[key]

    def _write(self) -> None:
        """Bring the disk up to date."""
        batch = self._disk.batch()
        for key, entry in self._cache.items():
            if entry.fresh:
                entry.fresh = False
                name = key.encode()
                if entry.disk_at:
                    batch.delete(self._ages + entry.disk_at + name)
                if entry.value is None:
                    batch.delete(self._values + name)
                    entry.disk_at = b""
                    continue
                at = entry.at()
                codec = self._codec
                value = entry.value if codec is None else codec.encode(entry.value)
                batch.put(self._values + name, at + encode_value(value))
                batch.put(self._ages + at + name, b"")
                entry.disk_at = at
        if not batch.is_empty():
            self._disk.db.write(batch)

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        cursor = self._disk.db.iter()
        cursor.seek(prefix)
        while cursor.valid():
            name = cursor.key()
            if not name.startswith(prefix):
                return
            yield name, cursor.value()
            cursor.next()

    def _evict(self) -> None:
        count = max(1, int(self._max_keys * EVICT_SHARE), self._count - self._max_keys)
        self.evicted += self._leave(lambda _, left: left < count)

    def _leave(self, leaves: Callable[[float, int], bool]) -> int:
        """Remove the oldest keys while ``leaves(put at, removed so far)``; returns how many."""
        self._write()
        start, end = len(self._ages), len(self._ages) + _AT.size
        leaving: list[str] = []
        for name, _ in self._scan(self._ages):
            if not leaves(_put_at(name[start:end])[0], len(leaving)):
                break
            leaving.append(name[end:].decode())
        for key in leaving:
            self._remove(key)
            if self.logged:
                self.dirty[key] = None
        return len(leaving)

    def _remove(self, key: str) -> None:
        entry = self._entry(key)
        if entry.value is not None:
            self._count -= 1
            entry.value, entry.fresh = None, True

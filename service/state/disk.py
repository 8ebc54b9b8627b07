"""State for more keys than fit into memory: what is not in use lies in a RocksDB of the process.

The disk extends the memory of one process and is nothing more: the changelog is what survives.
So it is written without a log of its own, and whatever an earlier process has left is removed at
the start, because only a changelog that was read to its end is known to be in step.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from service.errors import ConfigurationError, DiskRefusedError, FatalError

_PREFIX: Final = "headrace-state-"
_OWNER: Final = "owner"
_WRITE_BUFFER_BYTES: Final = 8 * 1024 * 1024
_BLOOM_BITS: Final = 10

_MISPLACED: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST}
)
"""What the system says of a directory that nobody can write until the configuration changes."""


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
        self.cache_keys = cache_keys
        self._tables = 0
        self._owner: int | None = None
        self.directory: Path | None = None
        self.db: Any = None

    def open(self) -> None:
        """Make the database, and remove those of processes that are gone; blocks.

        Raises:
            ConfigurationError: If no directory can be made where it is to be.
            DiskRefusedError: If there is no room in it for a database.
        """
        self.directory = self._made()
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
        write_options: Any = rocksdict.WriteOptions()  # its stubs take the settings for methods
        write_options.disable_wal = True
        try:
            self.db = rocksdict.Rdict(str(self.directory / "db"), options)
        except Exception as exc:
            raise self._refused(exc) from exc
        self.db.set_write_options(write_options)

    def close(self) -> None:
        """Remove the database; blocks."""
        if self.db is not None:
            with contextlib.suppress(Exception):  # it writes what nobody needs; a full disk refuses
                self.db.close()
            self.db = None
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None
        if self.directory is not None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _made(self) -> Path:
        """A new directory, beside which none is left of a process that is gone."""
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._remove_abandoned()
            return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
        except OSError as error:
            if error.errno not in _MISPLACED:
                raise  # a full disk, say: somebody makes room, and the next start works
            problem = f"state.directory: {self._root} cannot be written: {error.strerror}"
            raise ConfigurationError([problem]) from error

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

    def write(self, batch: Any) -> None:
        """Write a :meth:`batch`, all of it or nothing.

        Raises:
            DiskRefusedError: If the disk does not take it, for example because it is full.  That
                is no event's fault, and the next process has the room that this one leaves.
        """
        try:
            self.db.write(batch)
        except Exception as exc:
            raise self._refused(exc) from exc

    def read(self, names: bytes | list[bytes]) -> Any:
        """What is stored under a name, or under each of several; ``None`` for nothing.

        Raises:
            FatalError: If it cannot be read.  That is no event's fault, and the next process has
                it from the changelog.
        """
        try:
            return self.db.get(names)
        except Exception as exc:
            raise self._unreadable(exc) from exc

    def scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Names that begin with ``prefix``, in their order, and what is stored there.

        Raises:
            FatalError: As :meth:`read`.
        """
        cursor = self.db.iter()
        cursor.seek(prefix)
        while cursor.valid():
            name = cursor.key()
            if not name.startswith(prefix):
                return
            yield name, cursor.value()
            cursor.next()
        try:
            cursor.status()  # it ends at what cannot be read, too
        except Exception as exc:
            raise self._unreadable(exc) from exc

    def remove(self, prefix: bytes) -> None:
        """Remove everything whose name begins with ``prefix``, which is of :meth:`prefix`.

        Raises:
            DiskRefusedError: As :meth:`write`.
        """
        batch = self.batch()
        batch.delete_range(prefix, (int.from_bytes(prefix, "big") + 1).to_bytes(4, "big"))
        self.write(batch)

    def _refused(self, error: Exception) -> DiskRefusedError:
        return DiskRefusedError(f"state.directory: {self.directory} takes no state: {error}")

    def _unreadable(self, error: Exception) -> FatalError:
        return FatalError(f"state.directory: {self.directory} cannot be read: {error}")

    def prefix(self) -> bytes:
        """What the keys of another table begin with."""
        self._tables += 1
        return self._tables.to_bytes(4, "big")

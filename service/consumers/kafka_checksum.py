"""Checks the checksums of stored batches with the processor's own instruction for CRC-32C.

The client computes them from tables, at about 1.6 GB/s, which is a twentieth of all that a small
event costs; the instruction does 20 GB/s.  The client's batches do not tell the bytes that they
are made of, so :class:`StoredBatches`, which cuts them, remembers these.

The client has the last word: what is not found right here, it is asked about.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, Final

from aiokafka.consumer import fetcher
from aiokafka.record.memory_records import MemoryRecords

from service.delivery.record_format import (
    BATCH_HEAD,
    CHECKSUM_COVERS_FROM,
    LENGTH_AT,
    LENGTH_COVERS_FROM,
    MAGIC,
)

crc32c: Callable[[bytes], int] | None
try:
    from google_crc32c.cext import value as crc32c  # type: ignore[attr-defined]
except ImportError:  # no wheel for this platform; the pure Python one is slower than the client
    crc32c = None

MIN_BYTES: Final = 1024
"""Smallest batch that is checked here: below, the client's way is as fast."""

_LENGTH: Final = Struct(">i")

# Asked for by its class: super() takes as long as cutting a small batch does.
_next_batch: Callable[[Any], Any] = MemoryRecords.next_batch


class StoredBatches(MemoryRecords):  # type: ignore[misc]  # no class of its own needs it closed
    """Cuts what was fetched of one partition into stored batches, as the client does.

    Args:
        data: What was fetched.

    Attributes:
        data: The same.
        at: Where the next batch begins in it.
    """

    __slots__ = ("_skipped", "_start", "at", "data")

    def __init__(self, data: bytes) -> None:
        super().__init__(data)  # pyright: ignore[reportAbstractUsage]
        self.data = data
        self.at = self._start = self._skipped = 0

    def has_next(self) -> bool:
        """Whether there is another one, as a whole."""
        left = len(self.data) - self.at
        if left < LENGTH_COVERS_FROM:
            return False
        (length,) = _LENGTH.unpack_from(self.data, self.at + LENGTH_AT)
        return bool(left >= LENGTH_COVERS_FROM + length)

    def skip(self, count: int, at: int) -> None:
        """Pass over the next ``count`` batches, which the caller has found to end at ``at``."""
        self._skipped += count
        self.at = at

    def next_batch(self) -> Any:
        """The next stored batch; ``None`` if the rest is none."""
        while self._skipped:  # only now: usually all that follows is skipped too
            _next_batch(self)
            self._skipped -= 1
        batch = _next_batch(self)
        if batch is not None:
            start = self._start = self.at
            (length,) = _LENGTH.unpack_from(self.data, start + LENGTH_AT)
            self.at = start + LENGTH_COVERS_FROM + length
        return batch

    def is_whole(self, batch: Any) -> bool:
        """Whether the checksum of ``batch``, the one that was cut last, is that of its bytes.

        False also where that is not known: for small batches, old formats, other platforms.
        """
        start, end = self._start, self.at
        if end - start < MIN_BYTES or crc32c is None:
            return False
        data = self.data
        offset, _, magic, checksum, _, _ = BATCH_HEAD.unpack_from(data, start)
        return bool(
            magic == MAGIC
            and offset == getattr(batch, "base_offset", None)  # batches of old formats do not tell
            and checksum == batch.crc
            and checksum == crc32c(data[start + CHECKSUM_COVERS_FROM : end])
        )


def is_whole(stored: Any, batch: Any) -> bool:
    """Whether the checksum of ``batch``, which ``stored`` gave last, is that of its bytes."""
    if type(stored) is StoredBatches and stored.is_whole(batch):
        return True
    whole: bool = batch.validate_crc()
    return whole


def remember_bytes() -> None:
    """Have the client cut what it fetches by :class:`StoredBatches`, in this process."""
    if getattr(fetcher, "MemoryRecords", None) is MemoryRecords:
        fetcher.MemoryRecords = StoredBatches

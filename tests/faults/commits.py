"""What a group has committed, from the log in which Kafka keeps it: all of it, in order of writing.

Asking the coordinator is not the same: one that has just come back answers for a moment with what
was committed long before.  The layouts are Kafka's ``OffsetCommitKey`` and ``OffsetCommitValue``.
"""

import struct
from collections.abc import Iterable, Iterator

from tests.faults.observed import Commit
from tests.kafka.client import Record

LOG = "__consumer_offsets"
"""The topic."""
DELETED = -1
"""Stands for the offset when what was committed is deleted."""

_VERSION = struct.Struct(">h")
_LENGTH = struct.Struct(">h")
_PARTITION = struct.Struct(">i")
_VALUE = struct.Struct(">hq")  # version and offset; what follows differs from version to version
_COMMIT_KEYS = (0, 1)
"""Versions of a key that stand for a commit; others stand for groups and their members."""


def commits_of(records: Iterable[Record], group: str, topic: str) -> Iterator[Commit]:
    """The commits of ``group`` for ``topic``.

    Args:
        records: Of one partition of the log, in order: a group keeps to one.
        group: Consumer group.
        topic: Input topic.
    """
    for record in records:
        if record.key is None or _VERSION.unpack_from(record.key)[0] not in _COMMIT_KEYS:
            continue
        whose, at = _text(record.key, _VERSION.size)
        what, at = _text(record.key, at)
        if (whose, what) != (group, topic):
            continue
        (partition,) = _PARTITION.unpack_from(record.key, at)
        offset = DELETED if record.value is None else _VALUE.unpack_from(record.value)[1]
        yield Commit(record.timestamp_ms, partition, offset)


def _text(data: bytes, at: int) -> tuple[str, int]:
    """A length and so many bytes of text; and where it ends."""
    (length,) = _LENGTH.unpack_from(data, at)
    begin = at + _LENGTH.size
    return data[begin : begin + length].decode(), begin + length

"""Whether a transaction marker says that its transaction was aborted, if it says anything.

In a compacted topic a marker outlives its transaction, and its batch outlives what it says: the
broker keeps the last batch of a producer that it knows, emptied, for the epoch in its header.  The
client takes such a batch for an error each time it meets it, and reads nothing behind it.  Here, as
in the Java client, it ends no transaction: nothing is left of the one that it did end.
"""

from typing import Any, Final

from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord

PRIVATE_NAMES: Final = {"PartitionRecords": ("_contains_abort_marker",)}
"""What is replaced of the client; a test pins it."""


def is_abort(marker: Any) -> bool:
    """Whether ``marker``, a control batch of the client that was not read yet, ends an abort."""
    for record in marker:
        return bool(ControlRecord.parse(record.key) == ABORT_MARKER)
    return False


def _contains_abort_marker(_: Any, marker: Any) -> bool:
    return is_abort(marker)


def read_on_behind_empty_markers() -> None:
    """Have the client ask :func:`is_abort` where it reads by itself, in this process."""
    reader: Any = PartitionRecords
    reader._contains_abort_marker = _contains_abort_marker  # noqa: SLF001 -- see PRIVATE_NAMES

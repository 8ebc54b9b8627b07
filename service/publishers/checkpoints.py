"""Changes of state that go out together, and which records are done when which of them are durable.

A changelog has a partition for each of the input, so what is read from a partition depends on the
changelog's partition of the same number, whichever of the input's topics it comes from.  One that
takes nothing, because it has no leader say, holds up that number and no other.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Final, Protocol

from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.changes import Changes
from service.state.keyed import PartitionId
from service.state.store import LoggedState
from service.state.table import Table

MOST_UNDER_WAY: Final = 4
"""When so many checkpoints of a table are not durable, its changes wait for a later one.

While a changelog takes nothing, checkpoints would fill the memory; what waits is one change a key.
"""

_PLACEHOLDER: Final = SourceRecord(None)


class Writer(Protocol):
    """Who writes the changes."""

    def permission(self, place: PartitionId) -> Permission:
        """Whether changes of an input partition may be written."""
        ...

    def settled(self, written: "Written") -> None:
        """All of ``written`` is durable, or somebody else's."""
        ...


class Written(RecordBatch):
    """The changes of one table on their way, as a batch that is done when they are durable.

    Args:
        writer: Who writes them.
        checkpoint: Whose they are.
        changes: The changes.
        of: The state, the input partition and the table.
    """

    __slots__ = ("_counted", "changes", "checkpoint", "place", "state", "table", "writer")

    def __init__(
        self,
        writer: Writer,
        checkpoint: "Checkpoint",
        changes: Changes,
        of: tuple[LoggedState, PartitionId, Table],
    ) -> None:
        self.state, self.place, self.table = of
        count = len(changes.rows)
        super().__init__(*self.place, (_PLACEHOLDER,) * count, next_offset=0)
        self.dispatched = count
        self.writer = writer
        self.checkpoint = checkpoint
        self.changes = changes
        self.table.unsettled += 1
        self._counted = True

    def permission(self) -> Permission:
        """Never once the partition went, for its next owner writes what it knows by then."""
        if self.state.tables.get(self.place) is not self.table:
            return Permission.NEVER
        return self.writer.permission(self.place)

    def dropped(self, places: Sequence[int]) -> None:
        """The checkpoint goes on without them, and nobody is to go on with the table.

        It holds what its changelog lacks, of records whose results may have been dropped as well.
        """
        self.table.unsettled += 1  # and so it is never clean again
        self.ack_many(places)

    def let_go(self) -> None:
        """It is not under way any more: a next checkpoint need not stay behind for it."""
        if self._counted:
            self._counted = False
            self.table.unsettled -= 1

    def on_complete(self) -> None:
        """Tell the checkpoint."""
        self.let_go()
        self.checkpoint.stored(self.partition)
        self.writer.settled(self)


class Checkpoint:
    """Changes on their way, and the records that wait for them.

    It lets go of both as soon as it can: the changes refer to it, so what it kept would stay until
    the cycle collector looks, which is rarely, and hold all the memory of its records.

    Attributes:
        covered: The records, by the number of their partition.
        outstanding: Results of theirs that are not durable; before they are, nothing is sent.
    """

    __slots__ = ("_unstored", "_written", "covered", "outstanding")

    def __init__(self) -> None:
        self.covered: defaultdict[int, list[tuple[RecordBatch, Sequence[int]]]] = defaultdict(list)
        self.outstanding = 0
        self._written: list[Written] = []
        self._unstored = Counter[int]()

    def cover(self, batch: RecordBatch, indexes: Sequence[int]) -> None:
        """Acknowledge the records at ``indexes`` when what they have changed is durable."""
        self.covered[batch.partition].append((batch, indexes))

    def leave(self, numbers: Collection[int], later: "Checkpoint") -> None:
        """Let records of partitions with ``numbers`` wait for ``later``, and revoked ones go."""
        for number, covered in list(self.covered.items()):
            if number in numbers:
                later.covered[number] = self.covered.pop(number)
            else:
                self.covered[number] = [each for each in covered if not each[0].revoked]

    def add(self, written: Written) -> None:
        """Have ``written`` sent with the others."""
        self._written.append(written)
        self._unstored[written.partition] += 1

    def send(self) -> Sequence[Written]:
        """What is to be sent, now that all results are durable."""
        written, self._written = self._written, []
        if not written:
            self._acknowledge(list(self.covered))
        return written

    def stored(self, number: int) -> None:
        """One table's changes are durable, or nobody's; it is of a partition with ``number``."""
        self._unstored[number] -= 1
        if self._unstored[number]:
            return
        del self._unstored[number]
        # what has changed nothing of its own partition waits for everything
        self._acknowledge([number] if self._unstored else list(self.covered))

    def _acknowledge(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            for batch, indexes in self.covered.pop(number, ()):
                batch.ack_many(indexes)

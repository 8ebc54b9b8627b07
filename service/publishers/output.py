"""One output partition: the batch being filled, what waits behind it, and the batch on the wire.

At most one batch of a partition is on the wire; what comes meanwhile fills the next one.  So
batches grow with the load by themselves, and order within the partition needs no other means.
A record's bytes are kept once, in the batch that is to be sent; beside it stands, in runs, which
input records it came from.  Knows neither the producer nor a clock: the publisher drives it.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from service.events import Headers, Permission
from service.publishers.base import BatchWriter, Row
from service.publishers.runs import Entry, Run
from service.publishers.shares import Share, Shares

FULL_BYTES: Final = 192 * 1024
"""A batch of this size goes out without waiting for more."""
SMALL_TOPIC_BYTES: Final = 512 * 1024
"""Topics that take less than this have their batches measured record by record."""
RECORD_OVERHEAD_BYTES: Final = 128
"""Kafka's own bytes of a record and its batch, beside key, value and headers; an upper bound."""
NOT_COUNTED: Final = Shares().of("")
"""The share of outputs that are counted by whoever drives them."""


class Sealed:
    """A batch that is ready to go, or on the wire.

    Args:
        runs: Where its records come from, in their order.
        size_bytes: Its size.
        writer: Has the records; ``None`` after a failure: they have to go into another one.
        rows: The records, if no writer has them.

    Attributes:
        count: How many records it has.
    """

    __slots__ = ("_rows", "count", "runs", "size_bytes", "writer")

    def __init__(
        self,
        runs: list[Run],
        size_bytes: int,
        *,
        writer: BatchWriter | None = None,
        rows: list[Row] | None = None,
    ) -> None:
        self.runs = runs
        self.size_bytes = size_bytes
        self.writer = writer
        self._rows = rows
        self.count = sum(len(run.places) for run in runs)

    @property
    def rows(self) -> list[Row]:
        """Its records, to be sent again; read back from the writer that had them."""
        if self._rows is None:
            self._rows = [] if self.writer is None else self.writer.rows()
        return self._rows

    def unsent(self) -> "Sealed":
        """The same for another producer."""
        return Sealed(self.runs, self.size_bytes, rows=self.rows)

    def cut(self, at: int) -> "tuple[Sealed, Sealed]":
        """Its first ``at`` records, and the others."""
        first: list[Run] = []
        others: list[Run] = []
        left = at
        for run in self.runs:
            if left > 0:
                first.append(run.part(0, left))
            if left < len(run.places):
                others.append(run.part(max(left, 0)))
            left -= len(run.places)
        share = self.size_bytes * at // self.count
        return (
            Sealed(first, share, rows=self.rows[:at]),
            Sealed(others, self.size_bytes - share, rows=self.rows[at:]),
        )

    def by_permission(self) -> "dict[Permission, Sealed]":
        """Its records by what may become of them now; usually all of them may go."""
        asked: dict[int, Permission] = {}
        for run in self.runs:
            if id(run.batch) not in asked:
                asked[id(run.batch)] = run.batch.permission()
        answers = set(asked.values())
        if len(answers) == 1:
            return {answers.pop(): self}
        answered: dict[Permission, tuple[list[Run], list[Row]]] = {
            answer: ([], []) for answer in answers
        }
        for run, some in self.parts():
            runs, rows = answered[asked[id(run.batch)]]
            runs.append(run)
            rows += some
        sorted_out: dict[Permission, Sealed] = {}
        left_bytes, left_count = self.size_bytes, self.count
        for answer, (runs, rows) in answered.items():
            share = left_bytes * len(rows) // left_count
            left_bytes, left_count = left_bytes - share, left_count - len(rows)
            sorted_out[answer] = Sealed(runs, share, rows=rows)
        return sorted_out

    def entries(self) -> Iterator[Entry]:
        """Its records one by one."""
        for run, rows in self.parts():
            for place, row in zip(run.places, rows, strict=True):
                yield Entry(*row, run.batch, place, run.owner, run.failed)

    def parts(self) -> Iterator[tuple[Run, list[Row]]]:
        """Its runs, each with its records."""
        at = 0
        for run in self.runs:
            end = at + len(run.places)
            yield run, self.rows[at:end]
            at = end


class OutputPartition:
    """One partition of one output topic.

    Attributes:
        limit_bytes: Largest batch that the topic takes.
        share: Where what is not acknowledged is counted.
        runs: Where the records of the open batch come from.
        writer: Has the records of the open batch.
        rows: Has them while there is no producer to give us a writer.
        size_bytes: Size of the open batch.
        urgent: Nothing more is coming for now: send what there is.
        since_s: ``loop.time()`` when the open batch got its first record.
        on_wire: The batch that is being sent.
        sent_at_s: Since when.
        waiting_since_s: ``loop.time()`` since when it has held records without any of them being
            acknowledged, however often they were sent; 0 while it holds none.
        sealed: Batches that wait for it, oldest first.
    """

    __slots__ = (
        "limit_bytes",
        "on_wire",
        "partition",
        "rows",
        "runs",
        "sealed",
        "sent_at_s",
        "share",
        "since_s",
        "size_bytes",
        "topic",
        "urgent",
        "waiting_since_s",
        "writer",
    )

    def __init__(
        self, topic: str, partition: int, limit_bytes: int, share: Share = NOT_COUNTED
    ) -> None:
        self.topic = topic
        self.share = share
        self.limit_bytes = limit_bytes
        self.partition = partition
        self.writer: BatchWriter | None = None
        self.rows: list[Row] = []
        self.runs: list[Run] = []
        self.size_bytes = 0
        self.urgent = False
        self.since_s = 0.0
        self.sent_at_s = 0.0
        self.waiting_since_s = 0.0
        self.on_wire: Sealed | None = None
        self.sealed: deque[Sealed] = deque()

    def add(
        self,
        run: Run,
        rows: Sequence[Row],
        begin: "Callable[[OutputPartition], BatchWriter | None]",
    ) -> int:
        """Add records behind those that are here, in as few calls as there are batches to fill.

        Args:
            run: Where they come from; not to be changed afterwards.
            rows: The records, as many as there are places in ``run``.
            begin: Opens a batch; gives ``None`` while there is nobody to make one.

        Returns:
            Their size, in bytes.
        """
        start = total_bytes = 0
        while start < len(rows):
            if self.writer is None:
                self.writer = begin(self)
            taken, size_bytes = self._fill(rows, start)
            if taken:
                whole = taken == len(rows)
                self.note(run if whole else run.part(start, start + taken), size_bytes)
                total_bytes += size_bytes
                start += taken
            else:
                self.seal()  # the open batch is full
        return total_bytes

    def _fill(self, rows: Sequence[Row], start: int) -> tuple[int, int]:
        """Put as many of ``rows`` as fit into the open batch; returns how many, and their size."""
        writer = self.writer
        if writer is None:
            left = rows[start:]
            self.rows += left
            return len(left), sum(record_size(*row[1:4]) for row in left)
        before = writer.size_bytes
        if self.limit_bytes >= SMALL_TOPIC_BYTES:
            taken = writer.extend(rows, start)
        elif self.runs and self.size_bytes + record_size(*rows[start][1:4]) > self.limit_bytes:
            taken = 0
        else:
            taken = int(writer.append(*rows[start]))
        return taken, writer.size_bytes - before

    def fill(self, writer: BatchWriter, rows: Sequence[Row]) -> int:
        """Put ``rows`` into a batch of their own, as many as the topic takes; returns how many."""
        if self.limit_bytes >= SMALL_TOPIC_BYTES:
            return writer.extend(rows, 0)
        size_bytes = taken = 0
        for row in rows:
            size_bytes += record_size(*row[1:4])
            if (taken and size_bytes > self.limit_bytes) or not writer.append(*row):
                break
            taken += 1
        return taken

    def note(self, run: Run, size_bytes: int) -> None:
        """The records of ``run`` were added to the open batch."""
        self.size_bytes += size_bytes
        last = self.runs[-1] if self.runs else None
        if (
            last is not None
            and last.batch is run.batch
            and last.owner is run.owner
            and last.failed == run.failed
        ):
            last.places += run.places
        else:
            self.runs.append(run)

    def seal(self) -> None:
        """Close the open batch, if there is one."""
        if self.runs:
            rows = None if self.writer is not None else self.rows
            self.sealed.append(Sealed(self.runs, self.size_bytes, writer=self.writer, rows=rows))
            self.writer = None
            self.rows = []
            self.runs = []
            self.size_bytes = 0

    def split(self, refused: Sealed) -> None:
        """Put a batch back that was refused for its size, as two halves."""
        first, second = refused.cut(refused.count // 2)
        self.sealed.appendleft(second)
        self.sealed.appendleft(first)

    def unsent(self) -> None:
        """The producer is gone: everything unacknowledged has to be sent again, in order."""
        if self.on_wire is not None:
            self.sealed.appendleft(self.on_wire)
            self.on_wire = None
        self.seal()
        self.sealed = deque(batch.unsent() for batch in self.sealed)

    @property
    def held(self) -> bool:
        """Whether it has records that are not on the wire."""
        return bool(self.runs or self.sealed)

    @property
    def pending(self) -> int:
        """Records that are not acknowledged."""
        on_wire = 0 if self.on_wire is None else self.on_wire.count
        sealed = sum(batch.count for batch in self.sealed)
        return on_wire + sealed + sum(len(run.places) for run in self.runs)


def record_size(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Bytes of one record in a batch, with Kafka's own; an upper bound."""
    return (
        RECORD_OVERHEAD_BYTES
        + len(key or b"")
        + len(value or b"")
        + sum(len(name) + len(content or b"") + 10 for name, content in headers)
    )

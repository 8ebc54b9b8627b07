"""Output records and where they come from: whom to tell what became of them, whom to acknowledge.

A run is what follows each other and comes from one input batch; nearly everything is done for a
whole run at a time.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from service.events import Headers, Permission, RecordBatch
from service.publishers.base import OutputTracing, Row

# Named once, and never looked for in a set: Python 3.11 takes longer for either than for asking.
_GO: Final = Permission.GO
_WAIT: Final = Permission.WAIT
_NEVER: Final = Permission.NEVER


class EntryOwner(Protocol):
    """Whose record an entry is, told what became of it."""

    def refused(self, entry: "Entry", reason: str) -> None:
        """Its topic will never take ``entry``; answer with another record, or raise."""
        ...

    def failed(self) -> None:
        """A request with records of this owner failed; they are sent again."""
        ...

    def lost(self, run: "Run") -> None:
        """The records of ``run`` are not sent: their input is somebody else's by now."""
        ...

    def stored(self, topic: str, runs: Sequence["Run"], count: int, *, since_s: float) -> None:
        """One request to ``topic`` was acknowledged; called before its inputs are.

        Args:
            topic: Where to.
            runs: All of the request, of other owners too.
            count: How many of its records are this owner's.
            since_s: ``loop.time()`` when it was sent.
        """
        ...


def trace_sent(
    tracing: OutputTracing, topic: str, runs: Sequence["Run"], owner: EntryOwner, since_s: float
) -> None:
    """Tell ``tracing`` which traced records have outputs of ``owner`` in a stored request."""
    if active := tracing.active:
        own = [
            (run.batch, place)
            for run in runs
            if run.owner is owner and id(run.batch) in active
            for place in run.places
        ]
        tracing.sent(topic, own, since_s=since_s)


class Entry(NamedTuple):
    """One output record."""

    timestamp_ms: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    batch: RecordBatch
    """The input's batch, and its place there: what to acknowledge."""
    place: int
    owner: EntryOwner
    """Told what becomes of this record."""
    failed: bool = False
    """Whether this is a dead-letter record."""


class Run:
    """Output records that follow each other and come from one input batch.

    Attributes:
        batch: The input's batch.
        places: Whom of it to acknowledge, one per output record.
        owner: Told what becomes of these records.
        failed: Whether they are dead-letter records.
    """

    __slots__ = ("batch", "failed", "owner", "places")

    def __init__(
        self, batch: RecordBatch, places: list[int], owner: EntryOwner, *, failed: bool = False
    ) -> None:
        self.batch = batch
        self.places = places
        self.owner = owner
        self.failed = failed

    def part(self, start: int, end: int | None = None) -> "Run":
        """Records ``start`` to ``end`` of it."""
        return Run(self.batch, self.places[start:end], self.owner, failed=self.failed)


def count_by_owner(runs: Sequence[Run]) -> dict[EntryOwner, int]:
    """How many records each owner has among ``runs``."""
    counts: dict[EntryOwner, int] = {}
    for run in runs:
        counts[run.owner] = counts.get(run.owner, 0) + len(run.places)
    return counts


def by_partition(
    partitions: Sequence[int], run: Run, rows: list[Row]
) -> Iterable[tuple[int, Run, list[Row]]]:
    """The rows of ``run`` by output partition, each part in the order of the run."""
    if partitions.count(partitions[0]) == len(partitions):
        return ((partitions[0], run, rows),)
    parts: dict[int, tuple[list[int], list[Row]]] = {}
    for partition, place, row in zip(partitions, run.places, rows, strict=True):
        part = parts.get(partition)
        if part is None:
            part = parts[partition] = ([], [])
        part[0].append(place)
        part[1].append(row)
    return [
        (partition, Run(run.batch, places, run.owner, failed=run.failed), some)
        for partition, (places, some) in parts.items()
    ]


def permission_of(runs: Sequence[Run]) -> Permission:
    """What may become of all of ``runs``, which travel together: the worst of the answers."""
    worst = _GO
    asked: RecordBatch | None = None
    for run in runs:
        if run.batch is asked:
            continue
        asked = run.batch
        answer = asked.permission()
        if answer is _NEVER:
            return _NEVER
        if answer is _WAIT:
            worst = _WAIT
    return worst

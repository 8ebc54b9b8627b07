"""What was seen of a run: records as they lie in Kafka, samples of offsets, what was done when.

Only values.  `tests.faults.history` writes and reads them, `tests.faults.oracle` judges them.
"""

from dataclasses import dataclass, field

Place = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as it lies in Kafka.

    Attributes:
        at_ms: Its timestamp: when the producer made it for inputs, when the broker appended it
            for outputs (their topics say so).
    """

    topic: str
    partition: int
    offset: int
    at_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition

    def header(self, name: str) -> bytes | None:
        """Value of its first header called ``name``."""
        return next((value for key, value in self.headers if key == name), None)


@dataclass(frozen=True, slots=True)
class Sample:
    """What the group had committed, and *afterwards* how far the output topics reached.

    In this order, whatever was durable when the commit was read lies below ``ends``.

    Attributes:
        at_ms: Wall clock, ms.
        committed: Committed offset by input partition; absent where nothing was committed.
        ends: End of each output and dead-letter partition.
    """

    at_ms: int
    committed: dict[int, int]
    ends: dict[Place, int]


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit as it lies in the group's log.

    Attributes:
        at_ms: When the broker wrote it, ms.
        partition: Of the input topic.
        offset: What was committed; -1 if it was deleted.
    """

    at_ms: int
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was done to the service or its broker.

    Attributes:
        kind: Name of the step.
        at_ms: Wall clock when it began, ms.
        healed_ms: Wall clock when it was over; the service has to go on from there.
        kills: Whether it ended a process without a warning.
        in_flight: Records that were being worked on in what it killed.
        duplicates: Whether it may cause repeats at all, with at-least-once delivery.
        progress_ms: Longest standstill after it.
    """

    kind: str
    at_ms: int
    healed_ms: int
    kills: bool = False
    in_flight: int = 0
    duplicates: bool = False
    progress_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Resources:
    """What a process holds.

    Attributes:
        at_ms: Wall clock, ms.
        memory_kib: Resident memory.
        descriptors: Open files and sockets.
        tasks: Live asyncio tasks.
    """

    at_ms: int
    memory_kib: int
    descriptors: int
    tasks: int


@dataclass(slots=True)
class Observed:
    """Everything that the judge gets to see.

    Attributes:
        seed: Of the workload.
        keys: Of the workload.
        exactly_once: Whether nothing may be visible twice, whatever happened.
        partitions: Number of partitions by output topic.
        inputs: The input topic, all of it.
        outputs: The output topic, read committed.
        dead: The dead-letter topic, read committed.
        samples: In order of time.
        commits: In the order in which they were written; those of transactions that were aborted
            are not among them.
        faults: In order of time.
        excused: Input ranges (partition, first, end) that were deleted before they were read.
        open_ends: Partitions whose last stable offset is below their end, with both.
        resources: Of the member that nothing was done to but over the network, in order of time.
        peaks: Most resident memory that each member that was asked to stop ever held, in KiB.
        peak_allowed_kib: Most that it may have held; no limit if 0.
        exits: Each member that was asked to stop: name, exit code, seconds it took.
        ended_ms: When the run was over.
    """

    seed: int
    keys: int
    exactly_once: bool = False
    partitions: dict[str, int] = field(default_factory=dict)
    inputs: list[Stored] = field(default_factory=list)
    outputs: list[Stored] = field(default_factory=list)
    dead: list[Stored] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    commits: list[Commit] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    excused: list[tuple[int, int, int]] = field(default_factory=list)
    open_ends: dict[Place, tuple[int, int]] = field(default_factory=dict)
    resources: list[Resources] = field(default_factory=list)
    exits: list[tuple[str, int, float]] = field(default_factory=list)
    peaks: list[tuple[str, int]] = field(default_factory=list)
    peak_allowed_kib: int = 0
    ended_ms: int = 0

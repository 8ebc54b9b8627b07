"""The vocabulary of the benchmarks: a job, who competes in it, and what a run of one measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BATCH_BYTES: Final = 64 * 1024
"""Largest stored batch of an input, where a job does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one run of one contender takes place.

    Args:
        bootstrap: Broker, ``host:port``.
        source: Input topic, loaded before the contender starts.
        outputs: Real topic of each logical output of the job.
        dead_letter: A topic for what a contender cannot process; must stay empty.
        group: Consumer group, new for every run.
        directory: An empty directory for files of the run.
        peers_python: Interpreter of the environment that the peers are installed in.
    """

    bootstrap: str
    source: str
    outputs: Mapping[str, str]
    dead_letter: str
    group: str
    directory: Path
    peers_python: str

    @property
    def output(self) -> str:
        """The topic of a job with one output."""
        (topic,) = self.outputs.values()
        return topic


Command = Callable[[Place], list[str]]
"""Makes the command line of a contender; the program runs until SIGTERM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A program that does the job.

    Args:
        name: As it appears in the report.
        command: How it is started.
        share: Part of the job's events it gets; slow ones get fewer, so that a round ends.
        quick: Whether it takes part in the quick run.
        commits: Whether it commits offsets to its group (checked after the run).
        prepare: A command that runs to its end before each start, and is not measured.
        instead: The job that it does, in place of the one it is compared in.
        yardstick: Whether it touches no broker at all but times itself, and prints a `Run` as
            JSON: what the machine could do if the rest cost nothing.
        note: What a reader must know when comparing.
    """

    name: str
    command: Command
    share: float = 1.0
    quick: bool = True
    commits: bool = True
    prepare: Command | None = None
    instead: "Job | None" = None
    yardstick: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """One expected output record, with its value already in canonical form."""

    topic: str
    key: bytes | None
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done: inputs, and exactly which outputs they must lead to.

    Args:
        name: Word for command line and file names.
        title: One line for the report.
        count: Events of a full run.
        quick_count: Events of a quick run.
        record: Key and value of the event with this number.
        expected: The outputs of the event with this number, in canonical form.
        canonical: Brings an output's value into the form that is compared.
        outputs: Logical names of the output topics.
        partitions: Of the input topic and of each output topic.
        keyed: Whether outputs carry keys and each key's outputs keep their order.
        sequence: Number of an output within its key, from its canonical value.
        committed_only: Whether outputs count only when their transaction is committed.
        by_commits: Whether progress is counted in committed inputs; else in visible outputs.
        multiple: Events come in multiples of so many.
        contenders: Who competes; the first one is the one all ratios refer to.
        pinned: Whether a contender gets one processor of its own; else all of them.
        batch_bytes: Largest stored batch of the input.
        compression: Of the stored batches, by Kafka's names; ``None`` for none.
    """

    name: str
    title: str
    count: int
    quick_count: int
    record: Callable[[int], tuple[bytes | None, bytes]]
    expected: Callable[[int], tuple[Output, ...]]
    canonical: Callable[[bytes], bytes]
    contenders: tuple[Contender, ...]
    outputs: tuple[str, ...] = ("out",)
    partitions: int = 4
    keyed: bool = False
    sequence: Callable[[bytes], int] | None = None
    committed_only: bool = False
    by_commits: bool = False
    multiple: int = 1
    pinned: bool = True
    batch_bytes: int = BATCH_BYTES
    compression: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one run of one contender measured.

    Args:
        events_per_s: Inputs done per second, between the first and the last visible output.
        cpu_s_per_million: CPU seconds of the contender (all its processes) per million inputs.
        peak_rss_mb: Largest resident memory, in MB (10^6 bytes), summed over its processes.
        broker_cpu_s_per_million: CPU seconds of the broker in the same time.
        problem: Why the run does not count; empty for a good one.
    """

    events_per_s: float = 0.0
    cpu_s_per_million: float = 0.0
    peak_rss_mb: float = 0.0
    broker_cpu_s_per_million: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyJob:
    """A steady rate of events, each of which leads to one result.

    Args:
        name: Word for command line and file names.
        title: One line for the report.
        rates: Events per second, one run each.
        seconds: Length of a run.
        value: The event sent as number n.
        position: n, from the number that the result's message carries.
        contenders: Who competes.
        partitions: Of each topic.
    """

    name: str
    title: str
    rates: tuple[int, ...]
    seconds: float
    value: Callable[[int], bytes]
    position: Callable[[int], int]
    contenders: tuple[Contender, ...]
    partitions: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyRun:
    """Percentiles in milliseconds; ``inside`` is what the service says of itself."""

    p50_ms: float = 0.0
    p99_ms: float = 0.0
    p999_ms: float = 0.0
    inside_p50_ms: float | None = None
    inside_p99_ms: float | None = None
    cpu_share: float = 0.0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryJob:
    """A backlog far larger than memory should be, and a handler that is slow.

    Args:
        name: Word for command line and file names.
        title: One line for the report.
        count: Events of the backlog.
        quick_count: The same in a quick run.
        seconds: How long each contender is watched.
        record: Key and value of the event with this number.
        contenders: Who is watched.
        partitions: Of each topic.
    """

    name: str
    title: str
    count: int
    quick_count: int
    seconds: float
    record: Callable[[int], tuple[bytes | None, bytes]]
    contenders: tuple[Contender, ...]
    partitions: int = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRun:
    """Resident memory, in MB of 10^6 bytes, of all processes of a contender."""

    steady_mb: float = 0.0
    peak_mb: float = 0.0
    slope_mb_per_min: float = 0.0
    handled: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryJob:
    """Programs that measure by themselves; what they print is the report.

    Args:
        name: Word for command line and file names.
        title: One line for the report.
        programs: Files, from the root of the repository.
        full: Arguments of a full run.
        quick: Arguments of a quick run.
    """

    name: str
    title: str
    programs: tuple[str, ...]
    full: tuple[str, ...]
    quick: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asks for.

    Args:
        quick: Fewer jobs, contenders, events and rounds.
        rounds: How often each contender runs.
        count: Events, in place of the job's own figure.
        only: Words of which a contender's name must have one; empty for all contenders.
    """

    quick: bool
    rounds: int
    count: int | None = None
    only: tuple[str, ...] = ()

    def wants(self, contender: Contender) -> bool:
        """Whether the contender takes part."""
        if self.only:
            return any(word in contender.name for word in self.only)
        return contender.quick or not self.quick


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a job leaves behind: a page, a picture if it has one, and every run."""

    name: str
    markdown: str
    svg: str
    data: object

"""The judge: accounts for every input record from what lies in Kafka, and trusts nobody.

Imports nothing of the service.  What must become of a record it computes itself; what did, it
reads from the topics.  Every check has a name, so that a broken variant of the service can be
shown to be caught by it.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import orjson

from tests.faults.observed import Fault, Observed, Place, Resources, Stored
from tests.faults.placement import partition_of
from tests.faults.workload import Fate, Workload, number_of

COMMIT_INTERVAL_MS = 100
"""Completions of so long may be repeated after a kill: the service commits that often."""
DRAIN_S = 10.0
"""Longest time from SIGTERM to exit 0."""
WARM_UP_SHARE = 1 / 3
"""Part of a run after which memory has to be steady."""
MEMORY_RUN_MS = 20 * 60_000
"""Shortest run whose memory and handles are judged: less is not steady, and a slope noise."""
SLOPE_MIB_PER_HOUR = 1.0
SPARE_HANDLES = 5
"""Tasks, files and sockets that come and go."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be.

    Attributes:
        check: Name of the check.
        detail: What was seen, with an example.
    """

    check: str
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run amounts to.

    Attributes:
        violations: Empty if all is well.
        records: Input records.
        outputs: Records in the output and dead-letter topics.
        lost: Input records that are missing their output or dead letter.
        duplicates: Records in the output topics beyond the first for their input.
        allowed: How many of these the faults may have caused.
        slope_mib_per_hour: Of resident memory after the warm-up; ``None`` in a short run.
        worst_standstill_ms: Longest time from a healed fault to the next progress.
    """

    violations: list[Violation]
    records: int
    outputs: int
    lost: int
    duplicates: int
    allowed: int
    worst_standstill_ms: int
    slope_mib_per_hour: float | None

    @property
    def checks(self) -> list[str]:
        """Names of the checks that failed."""
        return sorted({violation.check for violation in self.violations})


def judge(observed: Observed) -> Verdict:
    """Judge a finished run."""
    book = _Book(observed)
    violations = [
        Violation(name, detail) for name, check in CHECKS.items() for detail in check(book)
    ]
    return Verdict(
        violations=violations,
        records=len(observed.inputs),
        outputs=len(observed.outputs) + len(observed.dead),
        lost=len(book.missing()),
        duplicates=book.duplicates,
        allowed=book.allowed(),
        worst_standstill_ms=max((wait for _, wait in book.standstills()), default=0),
        slope_mib_per_hour=memory_slope(observed),
    )


def memory_slope(observed: Observed) -> float | None:
    """MiB per hour of resident memory after the warm-up: the median of the slopes of all pairs.

    That is the estimator of Theil and Sen (P. K. Sen, Journal of the American Statistical
    Association 63, 1968).  Least squares takes one step for growth: an outage that left more to
    catch up than any before it raises the high-water mark once, and that would be 7 MiB an hour in
    a run of half an hour.  What grows all the time, or with every fault, is in most pairs.
    """
    steady = _steady(observed)
    if not steady or observed.resources[-1].at_ms - observed.resources[0].at_ms < MEMORY_RUN_MS:
        return None
    return median(
        (late.memory_kib - early.memory_kib) / 1024 / ((late.at_ms - early.at_ms) / 3_600_000)
        for early, late in combinations(steady, 2)
        if late.at_ms > early.at_ms
    )


def _steady(observed: Observed) -> list[Resources]:
    """Samples of resources after the warm-up."""
    return observed.resources[int(len(observed.resources) * WARM_UP_SHARE) :]


class _Book:
    """Inputs beside what came of them."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.workload = Workload(observed.seed, observed.keys)
        self.inputs: dict[int, Stored] = {}
        self.alien: list[str] = []
        for record in observed.inputs:
            number = number_of(record.value)
            if number is None or number in self.inputs:
                self.alien.append(f"input {record.place} {record.offset} is not of the workload")
            else:
                self.inputs[number] = record
        by_place = {(r.topic, r.partition, r.offset): n for n, r in self.inputs.items()}
        self.alerts = self._copies(observed.outputs, lambda r: number_of(r.value))
        self.letters = self._copies(observed.dead, lambda r: by_place.get(_origin(r)))

    def _copies(
        self, records: list[Stored], owner: Callable[[Stored], int | None]
    ) -> dict[int, list[Stored]]:
        copies: defaultdict[int, list[Stored]] = defaultdict(list)
        for record in records:
            number = owner(record)
            if number is None or number not in self.inputs:
                self.alien.append(f"{record.place} {record.offset} belongs to no input")
            else:
                copies[number].append(record)
        return copies

    def expected(self, number: int) -> list[Stored] | None:
        """Copies of what must have come of an input; ``None`` if nothing must."""
        fate = self.workload.fate(number)
        if fate is Fate.SILENT:
            return None
        return (self.letters if fate.dead else self.alerts).get(number, [])

    def excused(self, record: Stored) -> bool:
        """Whether it was deleted before anybody could read it."""
        return any(
            partition == record.partition and first <= record.offset < end
            for partition, first, end in self.observed.excused
        )

    def missing(self) -> list[int]:
        """Inputs without what must have come of them."""
        return [
            number
            for number, record in self.inputs.items()
            if self.expected(number) == [] and not self.excused(record)
        ]

    @property
    def duplicates(self) -> int:
        """Copies beyond the first."""
        return sum(
            len(found) - 1 for copies in (self.alerts, self.letters) for found in copies.values()
        )

    def allowed(self) -> int:
        """Duplicates that the faults may have caused."""
        if self.observed.exactly_once:
            return 0
        appended = sorted(r.at_ms for r in (*self.observed.outputs, *self.observed.dead))
        return sum(_allowed(fault, appended) for fault in self.observed.faults)

    def standstills(self) -> Iterator[tuple[Fault, int]]:
        """Each fault with the ms from its end to the next progress, if there was any to make."""
        samples = self.observed.samples
        total = max((sum(s.committed.values()) for s in samples), default=0)
        times = [sample.at_ms for sample in samples]
        best: list[int] = []
        for sample in samples:
            best.append(max(sum(sample.committed.values()), best[-1] if best else 0))
        for fault in self.observed.faults:
            at = bisect_right(times, fault.healed_ms)
            before = best[at - 1] if at else 0
            if before >= total:
                continue
            moved = next((i for i in range(at, len(best)) if best[i] > before), None)
            until = self.observed.ended_ms if moved is None else times[moved]
            # another fault that began meanwhile starts the clock anew
            if not any(fault.healed_ms < o.healed_ms <= until for o in self.observed.faults):
                yield fault, until - fault.healed_ms


def _allowed(fault: Fault, appended: list[int]) -> int:
    if not fault.kills and not fault.duplicates:
        return 0
    first = bisect_right(appended, fault.at_ms - COMMIT_INTERVAL_MS)
    last = bisect_right(appended, fault.healed_ms if fault.duplicates else fault.at_ms + 5)
    return last - first + fault.in_flight


def _origin(letter: Stored) -> tuple[str, int, int]:
    topic, _, rest = (letter.header("headrace-origin") or b"").decode().partition("/")
    partition, _, offset = rest.partition("/")
    if not partition.isdigit() or not offset.isdigit():
        return topic, -1, -1
    return topic, int(partition), int(offset)


# -- the checks: each yields what is wrong ---------------------------------------------------


def _accounted(book: _Book) -> Iterator[str]:
    missing = book.missing()
    if missing:
        places = [
            f"{number} ({book.workload.fate(number).value}) from "
            f"{book.inputs[number].partition}/{book.inputs[number].offset}"
            for number in missing[:_EXAMPLES]
        ]
        yield f"{len(missing)} inputs have no result: {', '.join(places)}"


def _invented(book: _Book) -> Iterator[str]:
    yield from book.alien[:_EXAMPLES]
    for number in book.alerts:
        if (fate := book.workload.fate(number)) is not Fate.ALERT:
            yield f"{number} has an alert, but its fate is {fate.value}"
    for number in book.letters:
        if not (fate := book.workload.fate(number)).dead:
            yield f"{number} has a dead letter, but its fate is {fate.value}"


def _payload(book: _Book) -> Iterator[str]:
    for number, copies in book.alerts.items():
        source = book.inputs[number]
        for copy in copies:
            found = orjson.loads(copy.value or b"null")
            wanted = {**book.workload.alert(number), "timestamp": source.at_ms}
            if copy.key != source.key or any(found.get(k) != v for k, v in wanted.items()):
                yield f"the alert of {number} is {found} under {copy.key!r}"
    for number, copies in book.letters.items():
        source = book.inputs[number]
        for copy in copies:
            code = (copy.header("headrace-error") or b"").decode()
            if (copy.key, copy.value) != (source.key, source.value):
                yield f"the dead letter of {number} is not its original"
            elif code != book.workload.fate(number).value:
                yield f"the dead letter of {number} says {code!r}"


def _identity(book: _Book) -> Iterator[str]:
    owner: dict[bytes, int] = {}
    for number, copies in book.alerts.items():
        names = {copy.header("headrace-id") for copy in copies}
        for name in names:
            if name is None:
                yield f"an alert of {number} has no id"
            elif owner.setdefault(name, number) != number:
                yield f"{number} and {owner[name]} share the id {name!r}"
        if len(names) > 1:
            yield f"{number} has the ids {names}"


def _order(book: _Book) -> Iterator[str]:
    early = {Fate.DECODE, Fate.SCHEMA}  # dead before any handler: they do not wait in its lanes
    letters = book.letters.items()
    streams = (
        (book.alerts, "alert"),
        ({n: c for n, c in letters if book.workload.fate(n) in early}, "dead letter"),
        ({n: c for n, c in letters if book.workload.fate(n) not in early}, "dead letter"),
    )
    for copies, what in streams:
        # a key can move to another input partition, and between partitions there is no order
        wanted: defaultdict[tuple[bytes | None, int], list[int]] = defaultdict(list)
        for number in sorted(copies, key=lambda n: book.inputs[n].offset):
            source = book.inputs[number]
            wanted[source.key, source.partition].append(number)
        for (key, _), numbers in wanted.items():
            place = {number: at for at, number in enumerate(numbers)}
            found = sorted((r.partition, r.offset, n) for n in numbers for r in copies[n])
            at = -1
            for *_, number in found:
                # forward by one, or back to replay from there: nothing else is in order
                if place[number] > at + 1:
                    before = "nothing" if at < 0 else str(numbers[at])
                    yield f"{what} {number} of {key!r} follows {before}"
                at = place[number]


def _placement(book: _Book) -> Iterator[str]:
    for copies in (book.alerts, book.letters):
        for number, found in copies.items():
            for copy in found:
                count = book.observed.partitions[copy.topic]
                if copy.key is not None and partition_of(copy.key, count) != copy.partition:
                    yield f"{number} ({copy.key!r}) lies in {copy.place}"


def _duplicates(book: _Book) -> Iterator[str]:
    found, allowed = book.duplicates, book.allowed()
    if found > allowed:
        most = Counter({n: len(c) for b in (book.alerts, book.letters) for n, c in b.items()})
        yield f"{found} duplicates, {allowed} allowed, such as {most.most_common(_EXAMPLES)}"


def _durability(book: _Book) -> Iterator[str]:
    """No commit may ever have been above the lowest record that was not durable."""
    by_partition: defaultdict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, record in book.inputs.items():
        by_partition[record.partition].append((record.offset, number))
    for partition, records in by_partition.items():
        records.sort()
        needed: dict[Place, tuple[int, int]] = {}  # first copies: highest offset, whose
        done = 0
        for sample in book.observed.samples:
            committed = sample.committed.get(partition, -1)
            while done < len(records) and records[done][0] < committed:
                number = records[done][1]
                done += 1
                copies = book.expected(number)
                if copies:
                    first = min(copies, key=lambda copy: copy.offset)
                    if first.offset >= needed.get(first.place, (-1, 0))[0]:
                        needed[first.place] = (first.offset, number)
            late = [
                f"{committed} of partition {partition} was committed while {number} "
                f"was not in {place} (reached {sample.ends[place]}, it went to {offset})"
                for place, (offset, number) in needed.items()
                if place in sample.ends and offset >= sample.ends[place]
            ]
            if late:
                yield late[0]
                break


def _monotony(book: _Book) -> Iterator[str]:
    """By the group's log: a coordinator that has just come back may tell of the past."""
    last: dict[int, int] = {}
    for commit in book.observed.commits:
        before = last.get(commit.partition, -1)
        if commit.offset < before:
            yield f"partition {commit.partition} went back from {before} to {commit.offset}"
        last[commit.partition] = commit.offset
    final = book.observed.samples[-1].committed if book.observed.samples else {}
    for partition, committed in sorted(final.items()):
        if last.get(partition, -1) < committed:
            yield f"{committed} of partition {partition} is not in the group's log"


def _completion(book: _Book) -> Iterator[str]:
    ends: defaultdict[int, int] = defaultdict(int)
    for record in book.inputs.values():
        ends[record.partition] = max(ends[record.partition], record.offset + 1)
    final = book.observed.samples[-1].committed if book.observed.samples else {}
    for partition, end in sorted(ends.items()):
        if final.get(partition, -1) != end:
            yield f"partition {partition} ended at {final.get(partition)}, not {end}"


def _transactions(book: _Book) -> Iterator[str]:
    for place, (stable, end) in book.observed.open_ends.items():
        if stable < end:
            yield f"{place} is stable up to {stable} of {end}: a transaction is open"


def _drain(book: _Book) -> Iterator[str]:
    for member, code, took_s in book.observed.exits:
        if code != 0:
            yield f"{member} was asked to stop and ended with {code} after {took_s:.1f} s"
        elif took_s > DRAIN_S:
            yield f"{member} took {took_s:.1f} s to drain"


def _memory(book: _Book) -> Iterator[str]:
    slope = memory_slope(book.observed)
    if slope is not None and slope > SLOPE_MIB_PER_HOUR:
        yield f"resident memory grows by {slope:.2f} MiB an hour"
    for member, peak_kib in book.observed.peaks:
        if 0 < book.observed.peak_allowed_kib < peak_kib:
            yield f"{member} held {peak_kib / 1024:.0f} MiB at one moment"


def _leaks(book: _Book) -> Iterator[str]:
    steady = _steady(book.observed) if memory_slope(book.observed) is not None else []
    half = len(steady) // 2
    for name in ("descriptors", "tasks") if half else ():
        # the least that is held: what comes and goes does not count, what stays does
        before, after = (
            min(getattr(each, name) for each in part) for part in (steady[:half], steady[half:])
        )
        if after > before + SPARE_HANDLES:
            yield f"{name} never fall below {after} any more, they did to {before}"


def _progress(book: _Book) -> Iterator[str]:
    for fault, wait_ms in book.standstills():
        if wait_ms > fault.progress_ms:
            yield f"no progress for {wait_ms / 1000:.1f} s after {fault.kind}"


CHECKS: dict[str, Callable[[_Book], Iterator[str]]] = {
    "accounted": _accounted,
    "invented": _invented,
    "payload": _payload,
    "identity": _identity,
    "order": _order,
    "placement": _placement,
    "duplicates": _duplicates,
    "durability": _durability,
    "monotony": _monotony,
    "completion": _completion,
    "transactions": _transactions,
    "progress": _progress,
    "drain": _drain,
    "memory": _memory,
    "leaks": _leaks,
}
"""Every check by its name."""

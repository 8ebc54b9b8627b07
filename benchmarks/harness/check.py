"""Is the output exactly what the job asks for: nothing missing, nothing twice, nothing altered?

Compares fingerprints, a count and a sum of hashes, so that a million outputs of four partitions
need neither sorting nor a set of them all.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import blake2b

from benchmarks.harness.model import Job, Output

_MASK = (1 << 128) - 1


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A multiset of outputs: how many, and the sum of their 128-bit hashes."""

    count: int
    total: int


def fingerprint(outputs: Iterable[Output], *, keyed: bool) -> Fingerprint:
    """The fingerprint of `outputs`, whatever their order; keys count only if `keyed`."""
    count = total = 0
    for output in outputs:
        digest = blake2b(output.topic.encode(), digest_size=16)
        digest.update(b"\0")
        if keyed:
            digest.update(output.key or b"")
        digest.update(b"\0" + output.value)
        total += int.from_bytes(digest.digest(), "big")
        count += 1
    return Fingerprint(count, total & _MASK)


def order_violations(outputs: Iterable[Output], sequence: Callable[[bytes], int]) -> int:
    """How many outputs come after a later one of the same topic and key."""
    latest: dict[tuple[str, bytes | None], int] = {}
    violations = 0
    for output in outputs:
        place = (output.topic, output.key)
        number = sequence(output.value)
        if number < latest.get(place, -1):
            violations += 1
        else:
            latest[place] = number
    return violations


def expected_fingerprint(job: Job, count: int) -> Fingerprint:
    """What the first `count` events of `job` must lead to."""
    outputs = (output for number in range(count) for output in job.expected(number))
    return fingerprint(outputs, keyed=job.keyed)


def problem_of(job: Job, found: list[Output], expected: Fingerprint) -> str:
    """What is wrong with `found`; empty if nothing is."""
    actual = fingerprint(found, keyed=job.keyed)
    if actual.count != expected.count:
        return f"{actual.count} outputs instead of {expected.count}"
    if actual != expected:
        return "right number of outputs, wrong content"
    if job.sequence and (violations := order_violations(found, job.sequence)):
        return f"{violations} outputs out of order"
    return ""

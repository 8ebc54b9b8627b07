"""Compares what lies in the topics with the fate of every record."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from tests.fuzzing.model import Batch, Case, Damage
from tests.kafka.client import Record

PRIVATE = ("backslash", "日本語", "Grüße")
"""Words of payloads, which no error's detail may repeat."""

_SHOWN = 8


class Verdict:
    """What was wrong, by rule.

    Attributes:
        problems: Up to a few sentences per rule.
        counts: How often each rule was broken.
        judged: Records by kind.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()

    def wrong(self, rule: str, told: str) -> None:
        """Note that `rule` is broken."""
        self.counts[rule] += 1
        if self.counts[rule] <= _SHOWN:
            self.problems.append(f"{rule}: {told}")

    def __str__(self) -> str:
        total = sum(self.judged.values())
        lines = [f"{total} records judged, {sum(self.counts.values())} problems"]
        return "\n".join([*lines, *self.problems])


def judge(
    topic: str,
    batches: Sequence[Batch],
    outputs: Iterable[Record],
    letters: Iterable[Record],
    committed: Mapping[int, int],
) -> Verdict:
    """Whether everything in `topic` met its fate.

    Args:
        topic: The input topic.
        batches: What was written there.
        outputs: All of the output topic, in order within each partition.
        letters: All of the dead-letter topic.
        committed: The group's position per partition.
    """
    verdict = Verdict()
    results = _by_origin(verdict, outputs, "headrace-id")
    dead = _by_origin(verdict, letters, "headrace-origin")
    ends: dict[int, int] = defaultdict(int)
    for batch in batches:
        ends[batch.partition] = batch.next_offset
        if batch.damage is not None:
            _judge_damaged(verdict, topic, batch, results, dead)
            continue
        for place, case in enumerate(batch.cases):
            at = (topic, batch.partition, batch.first_offset + place)
            verdict.judged[case.kind] += 1
            _judge_outputs(verdict, case, at, results.pop(at, []))
            _judge_letters(verdict, case, at, dead.pop(at, []))
    for at in (*results, *dead):
        verdict.wrong("comes from nowhere", str(at))
    for partition, end in ends.items():
        if committed.get(partition) != end:
            verdict.wrong("not committed", f"{partition}: {committed.get(partition)} of {end}")
    _judge_order(verdict, batches, outputs)
    return verdict


_At = tuple[str, int, int]


def _by_origin(verdict: Verdict, records: Iterable[Record], header: str) -> dict[_At, list[Record]]:
    found: dict[_At, list[Record]] = defaultdict(list)
    for record in records:
        at = origin_of(record, header)
        if at is None:
            verdict.wrong("without origin", f"{record.topic}/{record.partition}/{record.offset}")
        else:
            found[at].append(record)
    return found


def origin_of(record: Record, header: str) -> _At | None:
    """Which input `record` came from, by our own header, which is the last of its name.

    ``headrace-origin`` is ``topic/partition/offset``; ``headrace-id`` ends in that and in the
    number of the result.
    """
    own = [value for name, value in record.headers if name == header]
    if not own:
        return None
    if header == "headrace-origin":
        topic, partition, offset = own[-1].decode().split("/")
        return topic, int(partition), int(offset)
    # ours is the first one of a result: what the input had is not passed on
    *_, topic, partition, place = own[0].decode().split("/")
    return topic, int(partition), int(place.partition("-")[0])


def _judge_outputs(verdict: Verdict, case: Case, at: _At, found: list[Record]) -> None:
    expected = [orjson.dumps(output) for output in case.fate.outputs]
    values = [record.value or b"" for record in found]
    if Counter(values) != Counter(expected):
        verdict.wrong("outputs", f"{at} {case.kind}: {_cut(values)} instead of {_cut(expected)}")
    for record in found:
        if record.key != case.key:
            verdict.wrong("key", f"{at} {case.kind}: {record.key!r}")


def _judge_letters(verdict: Verdict, case: Case, at: _At, found: list[Record]) -> None:
    expected = [] if case.fate.code is None else [case.fate.code.encode()]
    codes = [_last(letter, "headrace-error") for letter in found]
    if codes != expected:
        verdict.wrong(
            "dead letters",
            f"{at} {case.kind}: {codes} instead of {expected}, value {_cut([case.value or b''])}, "
            f"detail {[_last(letter, 'headrace-error-detail') for letter in found]}",
        )
    for letter in found:
        detail = _last(letter, "headrace-error-detail") or b""
        if any(word.encode() in detail for word in PRIVATE):
            verdict.wrong("payload in the detail", f"{at} {case.kind}: {detail!r}")
        original = letter.headers[: len(case.headers)]
        if (letter.key, letter.value) != (case.key, case.value) or original != case.headers:
            verdict.wrong("not the original", f"{at} {case.kind}")


def _judge_damaged(
    verdict: Verdict,
    topic: str,
    batch: Batch,
    results: dict[_At, list[Record]],
    dead: dict[_At, list[Record]],
) -> None:
    """A damaged batch gives one dead letter that names it, and nothing else.

    Where its header lies about its end and nothing behind it says better, it may take several.
    Where its bytes were scrambled at random it may still decode; then it is only asked that it
    was got over, which the committed position shows.
    """
    verdict.judged[f"damaged: {batch.damage.value if batch.damage else ''}"] += len(batch.cases)
    codes: list[bytes | None] = []
    for offset in range(batch.first_offset, batch.next_offset):
        at = (topic, batch.partition, offset)
        letters, outputs = dead.pop(at, []), results.pop(at, [])
        codes += [_last(letter, "headrace-error") for letter in letters]
        if outputs and batch.damage is not Damage.SCRAMBLED:
            verdict.wrong("output of a damaged batch", f"{at} {batch.damage}")
    if batch.damage is Damage.LAST_OFFSET:
        codes = sorted(set(codes), key=str)
    if codes != [b"batch"] and batch.damage is not Damage.SCRAMBLED:
        at = (topic, batch.partition, batch.first_offset)
        verdict.wrong("damaged batch", f"{at} {batch.damage}: {codes}")


def _judge_order(verdict: Verdict, batches: Sequence[Batch], outputs: Iterable[Record]) -> None:
    """Of a key, first results come in the order of the inputs."""
    damaged = {
        (batch.partition, offset)
        for batch in batches
        if batch.damage is not None
        for offset in range(batch.first_offset, batch.next_offset)
    }
    last: dict[tuple[int, bytes | None], int] = {}
    for record in outputs:
        at = origin_of(record, "headrace-id")
        if at is None or at[1:] in damaged or record.key is None:
            continue
        lane = (at[1], record.key)
        if last.get(lane, -1) > at[2]:
            verdict.wrong("order", f"{at} after {last[lane]} of key {record.key!r}")
        last[lane] = max(last.get(lane, -1), at[2])


def _last(record: Record, name: str) -> bytes | None:
    found = [value for key, value in record.headers if key == name]
    return found[-1] if found else None


def _cut(values: Sequence[Any]) -> str:
    return str([value[:80] for value in values[:4]])

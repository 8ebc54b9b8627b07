"""A run on disk: JSON lines, written while it happens, enough to judge it again or to replay it."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from tests.faults.observed import Commit, Fault, Observed, Resources, Sample, Stored
from tests.faults.schedule import Schedule

_TOPICS = ("inputs", "outputs", "dead")


class History:
    """Writes one.

    Args:
        path: The file; replaced if it exists.
        schedule: What is about to be run.
    """

    def __init__(self, path: Path, schedule: Schedule) -> None:
        self.path = path
        self._file: BinaryIO = path.open("wb")
        self.write("schedule", schedule.to_document())

    def write(self, kind: str, facts: Mapping[str, Any]) -> None:
        """One line."""
        self._file.write(orjson.dumps({"line": kind, **facts}) + b"\n")
        self._file.flush()

    def sample(self, sample: Sample) -> None:
        """One look at the offsets."""
        ends = [[*place, end] for place, end in sample.ends.items()]
        committed = list(sample.committed.items())
        self.write("sample", {"at_ms": sample.at_ms, "committed": committed, "ends": ends})

    def fault(self, fault: Fault) -> None:
        """One thing that was done."""
        self.write("fault", asdict(fault))

    def resources(self, resources: Resources) -> None:
        """One look at what a process holds."""
        self.write("resources", asdict(resources))

    def close(self, observed: Observed) -> None:
        """What lies in Kafka at the end, and the rest of what is to be judged."""
        for name in _TOPICS:
            for record in getattr(observed, name):
                self._file.write(orjson.dumps({"line": name, **_to_json(record)}) + b"\n")
        commits = [[each.at_ms, each.partition, each.offset] for each in observed.commits]
        self.write(
            "end",
            {
                "seed": observed.seed,
                "keys": observed.keys,
                "exactly_once": observed.exactly_once,
                "commits": commits,
                "partitions": observed.partitions,
                "excused": observed.excused,
                "open_ends": [[*place, *ends] for place, ends in observed.open_ends.items()],
                "exits": observed.exits,
                "peaks": observed.peaks,
                "peak_allowed_kib": observed.peak_allowed_kib,
                "ended_ms": observed.ended_ms,
            },
        )
        self._file.close()


def read(path: Path) -> tuple[Schedule, Observed]:
    """What was run and what was seen.

    Raises:
        ValueError: If the run did not come to its end.
    """
    schedule: Schedule | None = None
    seen = Observed(seed=0, keys=0)
    complete = False
    for line in path.read_bytes().splitlines():
        facts: dict[str, Any] = orjson.loads(line)
        kind = facts.pop("line")
        if kind == "schedule":
            schedule = Schedule.from_document(facts)
        elif kind == "sample":
            ends = {(topic, number): end for topic, number, end in facts["ends"]}
            seen.samples.append(Sample(facts["at_ms"], dict(facts["committed"]), ends))
        elif kind == "fault":
            seen.faults.append(Fault(**facts))
        elif kind == "resources":
            seen.resources.append(Resources(**facts))
        elif kind in _TOPICS:
            getattr(seen, kind).append(_from_json(facts))
        elif kind == "end":
            complete = True
            opened = {(t, p): (stable, end) for t, p, stable, end in facts.pop("open_ends")}
            facts["commits"] = [Commit(*each) for each in facts.get("commits", ())]
            facts["excused"] = [tuple(each) for each in facts["excused"]]
            facts["exits"] = [tuple(each) for each in facts["exits"]]
            facts["peaks"] = [tuple(each) for each in facts["peaks"]]
            for name, value in {**facts, "open_ends": opened}.items():
                setattr(seen, name, value)
    if schedule is None or not complete:
        raise ValueError(f"{path} is not the history of a finished run")
    return schedule, seen


def schedule_of(path: Path) -> Schedule:
    """What was run, however it ended."""
    with path.open("rb") as file:
        facts: dict[str, Any] = orjson.loads(file.readline())
    del facts["line"]
    return Schedule.from_document(facts)


def _to_json(record: Stored) -> dict[str, Any]:
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "at_ms": record.at_ms,
        "key": _text(record.key),
        "value": _text(record.value),
        "headers": [[name, _text(content)] for name, content in record.headers],
    }


def _from_json(facts: Mapping[str, Any]) -> Stored:
    headers = tuple((name, _bytes(content) or b"") for name, content in facts["headers"])
    return Stored(
        facts["topic"],
        facts["partition"],
        facts["offset"],
        facts["at_ms"],
        _bytes(facts["key"]),
        _bytes(facts["value"]),
        headers,
    )


def _text(value: bytes | None) -> str | None:
    """Bytes as text of the same length, whatever they are."""
    return None if value is None else value.decode("latin-1")


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")

"""What the normalizers cost beside a bare ``orjson.loads``, in microseconds a record.

Run it as ``python benchmarks/library/normalizers.py``.  Each round times every variant once, in
random order, over the same chunks; the figures are medians over rounds, so that a busy machine
shifts all of them alike.
"""

import argparse
import random
import statistics
import time
from collections.abc import Callable, Sequence

import orjson

from service.dispatch import Normalize
from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.normalizers import JsonNormalizer, LogNormalizer
from service.where import compile_where

CHUNK = 500


def flat(index: int) -> dict[str, object]:
    """A log of about 260 bytes as JSON."""
    return {
        "timestamp": f"2026-11-22T14:0{index % 10}:11.{random.randrange(10**6):06d}Z",
        "level": random.choice(["INFO", "DEBUG", "WARN", "ERROR"]),
        "service": "payments-api",
        "host": f"ip-10-0-3-{index % 255}",
        "message": f"Connection pool nearly exhausted: {index % 100} of 100, waited for a while",
        "request_id": f"{random.getrandbits(64):016x}",
        "user_id": index,
        "duration_ms": 12.5,
    }


def nested(index: int) -> dict[str, object]:
    """The same with two nested objects and a list."""
    log = flat(index)
    return {**log, "kubernetes": {"pod": "p-1", "labels": {"app": "x"}}, "tags": ["a", "b"]}


def measure(variants: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name in random.sample(list(variants), len(variants)):
            start_s = time.perf_counter()
            variants[name]()
            times[name].append(time.perf_counter() - start_s)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def compare(make: Callable[[int], dict[str, object]], rounds: int) -> None:
    """Print the cost of each variant on the records that ``make`` makes."""
    json, log = JsonNormalizer(), LogNormalizer()
    wanted = compile_where({"field": "level", "in": ["WARN", "ERROR"]})
    loads = orjson.loads
    values = [orjson.dumps(make(index)) for index in range(CHUNK)]
    records = [SourceRecord(value) for value in values]
    datas = json.decode_many(records)
    medians = measure(
        {
            "orjson.loads": lambda: [loads(value) for value in values],
            "json": lambda: json.decode_many(records),
            "log": lambda: log.decode_many(records),
            "select_many": lambda: wanted.select_many(datas),
        },
        rounds,
    )
    size = sum(map(len, values)) / CHUNK
    print(f"{make.__name__}, {size:.0f} bytes a record, chunks of {CHUNK}")
    for variant, seconds in medians.items():
        over = (seconds - medians["orjson.loads"]) / CHUNK * 1e6
        extra = "" if variant in {"orjson.loads", "select_many"} else f"  (+{over:.3f})"
        print(f"  {variant:14} {seconds / CHUNK * 1e6:6.3f} us{extra}")


def compare_filtered(make: Callable[[int], dict[str, object]], rounds: int) -> None:
    """Print what the normalizing step costs with the filter known to it, and not."""
    wanted = compile_where({"field": "level", "in": ["WARN", "ERROR"]})
    for percent in (1, 30, 90):
        values = [
            orjson.dumps({**make(index), "level": "WARN" if index % 100 < percent else "INFO"})
            for index in range(CHUNK)
        ]
        random.shuffle(values)
        records = [SourceRecord(value) for value in values]

        def step(*, first: bool, records: Sequence[SourceRecord] = records) -> Callable[[], object]:
            normalize = Normalize(LogNormalizer(), failed=len, counters=PipelineCounters("bench"))
            if first:
                normalize.preselect([wanted])

            def run() -> object:
                batch = RecordBatch("logs", 0, records, next_offset=len(records))
                (events,) = normalize([batch])
                return events.indexes if events.chosen_by else wanted.select_many(events.data)

            return run

        medians = measure({"whole": step(first=False), "filter first": step(first=True)}, rounds)
        for variant, seconds in medians.items():
            print(f"  {percent:2} % wanted, {variant:14} {seconds / CHUNK * 1e6:6.3f} us")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=300)
    rounds = parser.parse_args().rounds
    for make in (flat, nested):
        compare(make, rounds)
        compare_filtered(make, rounds)


if __name__ == "__main__":
    main()

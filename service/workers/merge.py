"""Many workers' metrics and status as one service's.  Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_SAMPLE = re.compile(r"(?P<name>[A-Za-z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<rest>.+)")


def merge_metrics(texts: Sequence[str]) -> str:
    """Prometheus expositions of the workers as one, each sample labelled with its ``worker``.

    Args:
        texts: One exposition per worker, by index; the empty text for one that did not answer.
    """
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for index, text in enumerate(texts):
        family = ""
        for line in text.split("\n"):  # label values may hold other separators of lines
            if line.startswith("# "):
                family = line.split(" ", 3)[2]
                head = heads.setdefault(family, [])
                if line not in head:
                    head.append(line)
            elif (sample := _SAMPLE.fullmatch(line)) is not None:
                labels = sample["labels"]
                own = f'worker="{index}"' + (f",{labels}" if labels else "")
                samples.setdefault(family, []).append(f"{sample['name']}{{{own}}} {sample['rest']}")
    lines = [line for family, head in heads.items() for line in (*head, *samples.get(family, ()))]
    return "\n".join(lines) + "\n" if lines else ""


def merge_status(
    documents: Sequence[Mapping[str, Any] | None], *, silent: str = "starting"
) -> dict[str, Any]:
    """Status documents of the workers as one: sums of rates and depths, worst of the rest.

    Args:
        documents: One document per worker, by index; ``None`` for one that did not answer.
        silent: Phase of a worker that does not answer.
    """
    answers = {index: each for index, each in enumerate(documents) if each is not None}
    if not answers:
        return {"phase": silent, "ready": False, "live": True, "pipelines": {}, "workers": 0}
    first, *_ = answers.values()
    reasons = [
        f"worker {index}: {silent if each is None else each['reason']}"
        for index, each in enumerate(documents)
        if each is None or each["reason"]
    ]
    all_answer = len(answers) == len(documents)
    phases = [str(each["phase"]) for each in answers.values()]
    names = {name: None for each in answers.values() for name in each["pipelines"]}
    return {
        **first,
        "phase": _least_ready(phases if all_answer else [*phases, silent]),
        "ready": all_answer and all(each["ready"] for each in answers.values()),
        "live": all(each["live"] for each in answers.values()),
        "stale": any(each["stale"] for each in answers.values()),
        "reason": reasons[0] if reasons else None,
        "age_s": max(each["age_s"] for each in answers.values()),
        "loop": _loop([each["loop"] for each in answers.values()]),
        "broker_silent_s": max(each["broker_silent_s"] for each in answers.values()),
        "dashboards": sum(each["dashboards"] for each in answers.values()),
        "workers": len(answers),
        "pipelines": {
            name: _pipeline(
                {
                    index: each["pipelines"][name]
                    for index, each in answers.items()
                    if name in each["pipelines"]
                }
            )
            for name in names
        },
    }


def _loop(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The most delayed event loop, and where the first blocked one hangs."""
    blocked = [part["blocked_in"] for part in parts if part["blocked_in"] is not None]
    return {
        "lag_s": max(part["lag_s"] for part in parts),
        "blocked_in": blocked[0] if blocked else None,
    }


def _least_ready(phases: Sequence[str]) -> str:
    order = ("draining", "starting", "stopped", "running")
    return min(phases, key=lambda phase: order.index(phase) if phase in order else 0)


def _pipeline(by_worker: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    parts = list(by_worker.values())
    letters: dict[str, int] = {}
    for part in parts:
        for code, count in part["dead_letters"].items():
            letters[code] = letters.get(code, 0) + count
    return {
        **parts[0],
        "rate_in": _sum(parts, "rate_in"),
        "rate_out": _sum(parts, "rate_out"),
        # quantiles of several processes cannot be added; the worst is what a person looks for
        "latency_ms": {
            quantile: max(part["latency_ms"][quantile] for part in parts)
            for quantile in ("p50", "p99")
        },
        "dead_letters": letters,
        "in_flight": _sum(parts, "in_flight"),
        "parked": _sum(parts, "parked"),
        "channel": {
            key: _sum([part["channel"] for part in parts], key)
            for key in ("depth", "peak", "capacity", "bytes")
        },
        "partitions": [
            {**partition, "worker": index}
            for index, part in by_worker.items()
            for partition in part["partitions"]
        ],
    }


def _sum(parts: Iterable[Mapping[str, Any]], key: str) -> Any:
    return sum(part[key] for part in parts)

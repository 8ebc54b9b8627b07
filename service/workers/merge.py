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
        for line in text.splitlines():
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


def merge_status(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Status documents of the workers as one: sums of rates and depths, worst of the rest."""
    if not documents:
        return {"phase": "starting", "ready": False, "live": True, "pipelines": {}, "workers": 0}
    reasons = [document["reason"] for document in documents if document.get("reason")]
    names = {name: None for document in documents for name in document["pipelines"]}
    return {
        **documents[0],
        "phase": _least_ready([str(document["phase"]) for document in documents]),
        "ready": all(document["ready"] for document in documents),
        "live": all(document["live"] for document in documents),
        "stale": any(document["stale"] for document in documents),
        "reason": reasons[0] if reasons else None,
        "age_s": max(document["age_s"] for document in documents),
        "broker_silent_s": max(document["broker_silent_s"] for document in documents),
        "dashboards": sum(document["dashboards"] for document in documents),
        "workers": len(documents),
        "pipelines": {
            name: _pipeline([d["pipelines"][name] for d in documents if name in d["pipelines"]])
            for name in names
        },
    }


def _least_ready(phases: Sequence[str]) -> str:
    order = ("draining", "starting", "stopped", "running")
    return min(phases, key=lambda phase: order.index(phase) if phase in order else 0)


def _pipeline(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
            for index, part in enumerate(parts)
            for partition in part["partitions"]
        ],
    }


def _sum(parts: Iterable[Mapping[str, Any]], key: str) -> Any:
    return sum(part[key] for part in parts)

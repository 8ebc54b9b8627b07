"""Generated events for ``produce --sample`` and the demo: endless, and the same for a seed.

Timestamps are the caller's, so that nothing here reads a clock.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_LOGS = (
    ("INFO", "User '{user}' logged in."),
    ("DEBUG", "Cache hit for item {number}."),
    ("WARN", "Database connection pool nearly exhausted."),
    ("INFO", "Processed batch {number}."),
    ("ERROR", "Failed to write to disk: permission denied."),
    ("INFO", "User '{user}' logged out."),
    ("DEBUG", "Executing expensive query."),
    ("WARN", "API rate limit approaching for external service."),
    ("INFO", "Report generated successfully."),
    ("ERROR", "Critical system fault detected in module {module}."),
    ("INFO", "Heartbeat received from worker node."),
    ("DEBUG", "Background task completed in {number}ms."),
    ("ERROR", "Unhandled exception in UI renderer."),
)
_USERS = ("alice", "bob", "carol", "dave")
_SERVICES = ("auth", "billing", "catalog", "payments", "search")
_WORDS = ("the", "answer", "is", "that", "water", "flows", "down", "a", "channel", "to", "wheels")


def logs(seed: int, now_ms: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """Log events of a few services; five of thirteen are WARN or ERROR."""
    pick = random.Random(seed)  # noqa: S311 -- sample data
    while True:
        level, message = pick.choice(_LOGS)
        yield {
            "timestamp": now_ms(),
            "level": level,
            "service": pick.choice(_SERVICES),
            "message": message.format(
                user=pick.choice(_USERS), number=pick.randrange(1000), module=pick.choice("XYZ")
            ),
        }


def metrics(seed: int, now_ms: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """A gauge per host and metric; about one value in 500 is far off."""
    pick = random.Random(seed)  # noqa: S311 -- sample data
    levels: dict[tuple[str, str], float] = {}
    while True:
        key = (f"host-{pick.randrange(8)}", pick.choice(("cpu", "latency_ms", "queue")))
        level = levels.setdefault(key, pick.uniform(20, 80))
        levels[key] = level + pick.gauss(0, 0.2)
        spike = 10 if pick.random() < 1 / 500 else 1
        yield {
            "timestamp": now_ms(),
            "host": key[0],
            "metric": key[1],
            "value": round(level * spike + pick.gauss(0, 1), 3),
        }


def tokens(seed: int, now_ms: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """Token deltas of three conversations at a time, in order within each."""
    pick = random.Random(seed)  # noqa: S311 -- sample data
    running: list[list[int]] = []
    started = 0
    while True:
        while len(running) < 3:  # noqa: PLR2004 -- enough to interleave
            running.append([started, 0, pick.randrange(8, 24)])
            started += 1
        conversation = pick.choice(running)
        number, index, length = conversation
        last = index + 1 == length
        word = pick.choice(_WORDS) + ("." if last or pick.random() < 1 / 8 else "")
        yield {
            "timestamp": now_ms(),
            "conversation": f"c-{number}",
            "index": index,
            "delta": word if index == 0 else f" {word}",
            "done": last,
        }
        conversation[1] += 1
        if last:
            running.remove(conversation)


def predictions(seed: int, now_ms: Callable[[], int]) -> Iterator[dict[str, Any]]:
    """Predictions of three models per request, in any order."""
    pick = random.Random(seed)  # noqa: S311 -- sample data
    number = 0
    while True:
        truth = pick.random()
        for model in pick.sample(("small", "medium", "large"), 3):
            yield {
                "timestamp": now_ms(),
                "request": f"r-{number}",
                "model": model,
                "prediction": round(min(1.0, max(0.0, truth + pick.gauss(0, 0.1))), 4),
            }
        number += 1


SAMPLES: Mapping[str, Callable[[int, Callable[[], int]], Iterator[dict[str, Any]]]] = {
    "logs": logs,
    "metrics": metrics,
    "tokens": tokens,
    "predictions": predictions,
}
"""Generators by name: a seed and a clock to endless events."""

KEY_FIELDS: Mapping[str, str] = {
    "logs": "service",
    "metrics": "host",
    "tokens": "conversation",
    "predictions": "request",
}
"""The field of each sample that is its natural key."""

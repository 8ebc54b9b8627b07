"""The ``/status`` document: facts as plain JSON values, with the names of the contract."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from service.health.board import StatusBoard
from service.health.probes import STALE_S, liveness, readiness
from service.health.watchdog import LoopWatchdog
from service.metrics import PartitionStatus, PipelineStatus


def status_document(board: StatusBoard, watchdog: LoopWatchdog, *, version: str) -> dict[str, Any]:
    """Everything that is known, fit for JSON.  Safe to call from every thread.

    ``stale`` tells that the event loop is blocked: everything under ``pipelines`` is then
    ``age_s`` old, and ``loop.blocked_in`` says where the loop hangs.
    """
    beat, age_s = board.latest, board.age_s()
    status = beat.status
    ready = readiness(status, age_s=age_s)
    live = liveness(age_s=age_s)
    return {
        "version": version,
        "phase": status.phase,
        "uptime_s": _rounded(board.now_s() - board.started_at_s),
        "ready": ready.ok,
        "reason": live.reason or ready.reason or None,
        "live": live.ok,
        "stale": age_s >= STALE_S,
        "age_s": _rounded(age_s),
        "loop": {"lag_s": _rounded(board.loop_lag_s()), "blocked_in": watchdog.blocked_in},
        "broker_silent_s": _rounded(status.broker_silent_s),
        "dashboards": status.dashboards,
        "pipelines": {name: _pipeline(each) for name, each in status.pipelines.items()},
    }


def without_keys(document: Mapping[str, Any], keys_shown: Callable[[str], bool]) -> dict[str, Any]:
    """``document`` without the keys of records, which are payload, that somebody may not know.

    Args:
        document: As :func:`status_document` makes it, or as workers' documents are merged.
        keys_shown: Whether the keys of a topic are left in.
    """

    def partition(facts: Mapping[str, Any]) -> Mapping[str, Any]:
        if facts["blocking"] is None or keys_shown(facts["topic"]):
            return facts
        return {**facts, "blocking": {**facts["blocking"], "key": None}}

    pipelines: Mapping[str, Mapping[str, Any]] = document["pipelines"]
    return {
        **document,
        "pipelines": {
            name: {**facts, "partitions": [partition(each) for each in facts["partitions"]]}
            for name, facts in pipelines.items()
        },
    }


def _pipeline(status: PipelineStatus) -> dict[str, Any]:
    return {
        "rate_in": _rounded(status.rate_in),
        "rate_out": _rounded(status.rate_out),
        "latency_ms": {
            "p50": _rounded(status.latency_ms.p50),
            "p99": _rounded(status.latency_ms.p99),
        },
        "dead_letters": dict(status.dead_letters),
        "in_flight": status.in_flight,
        "parked": status.parked,
        "channel": status.channel,
        "fed_by": list(status.fed_by),
        "partitions": [_partition(each) for each in status.partitions],
    }


def _partition(status: PartitionStatus) -> dict[str, Any]:
    return {
        "topic": status.topic,
        "partition": status.partition,
        "group": status.group,
        "lag": status.lag,
        "lag_s": _rounded(status.lag_s),
        "in_flight": status.in_flight,
        "oldest_in_flight_s": _rounded(status.oldest_in_flight_s),
        "commit_age_s": _rounded(status.commit_age_s),
        "paused": status.paused,
        "blocking": None if status.blocking is None else asdict(status.blocking),
    }


def _rounded(value: float) -> float:
    """Three digits are enough for people, and keep the document short."""
    return round(value, 3)

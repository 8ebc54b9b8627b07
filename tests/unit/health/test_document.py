from typing import Any

import orjson
import pytest

from service.health.board import StatusBoard
from service.health.document import status_document, without_keys
from service.health.watchdog import LoopWatchdog
from service.metrics import (
    Blocking,
    Cause,
    ChannelStatus,
    LatencyStatus,
    PartitionStatus,
    Phase,
    PipelineStatus,
    ServiceStatus,
)

_STATUS = ServiceStatus(
    phase=Phase.RUNNING,
    pipelines={
        "logs": PipelineStatus(
            rate_in=100.12345,
            rate_out=30.0,
            latency_ms=LatencyStatus(p50=1.5, p99=4.0),
            dead_letters={"decode": 2},
            channel=ChannelStatus(depth=5, peak=9, capacity=100, bytes=512),
            partitions=(
                PartitionStatus(
                    topic="logs.raw",
                    partition=3,
                    lag=1200,
                    lag_s=14.2,
                    in_flight=7,
                    oldest_in_flight_s=12.0,
                    commit_age_s=12.5,
                    blocking=Blocking(
                        cause=Cause.RETRY, offset=42, key="k", handler="alerts", attempts=3
                    ),
                ),
            ),
        )
    },
)


class Source:
    def snapshot(self) -> ServiceStatus:
        return _STATUS


def _document(age_s: float = 0.1) -> dict[str, Any]:
    now_s = 10.0
    board = StatusBoard(Source(), clock=lambda: now_s)
    board.beat()
    now_s += age_s
    facts = status_document(board, LoopWatchdog(board), version="1.2.3")
    document: dict[str, Any] = orjson.loads(orjson.dumps(facts))
    return document


def test_the_document_has_the_names_of_the_contract() -> None:
    assert _document()["pipelines"] == {
        "logs": {
            "rate_in": 100.123,
            "rate_out": 30.0,
            "latency_ms": {"p50": 1.5, "p99": 4.0},
            "dead_letters": {"decode": 2},
            "in_flight": 0,
            "parked": 0,
            "channel": {"depth": 5, "peak": 9, "capacity": 100, "bytes": 512},
            "fed_by": [],
            "partitions": [
                {
                    "topic": "logs.raw",
                    "partition": 3,
                    "group": "",
                    "lag": 1200,
                    "lag_s": 14.2,
                    "in_flight": 7,
                    "oldest_in_flight_s": 12.0,
                    "commit_age_s": 12.5,
                    "paused": False,
                    "blocking": {
                        "cause": "retry",
                        "offset": 42,
                        "key": "k",
                        "handler": "alerts",
                        "attempts": 3,
                    },
                }
            ],
        }
    }


@pytest.mark.parametrize(
    ("readable", "key"), [("logs.raw", "k"), ("alerts", None)], ids=["may-read", "may-not"]
)
def test_the_key_of_a_record_is_left_out_for_who_may_not_read_its_topic(
    readable: str, key: str | None
) -> None:
    document = _document()
    shown: dict[str, Any] = without_keys(document, lambda topic: topic == readable)

    blocking = shown["pipelines"]["logs"]["partitions"][0].pop("blocking")
    whole: dict[str, Any] = _document()
    assert blocking == whole["pipelines"]["logs"]["partitions"][0].pop("blocking") | {"key": key}
    assert shown == whole


def test_a_process_that_runs_is_ready_live_and_fresh() -> None:
    document = _document()

    assert (document["ready"], document["live"], document["stale"]) == (True, True, False)
    assert document["reason"] is None
    assert document["version"] == "1.2.3"


def test_a_blocked_loop_makes_the_document_stale() -> None:
    document = _document(age_s=12.0)

    assert (document["ready"], document["live"], document["stale"]) == (False, False, True)
    assert document["age_s"] == 12.0
    assert document["reason"] == "stale: the event loop has not turned for 12.0 s"

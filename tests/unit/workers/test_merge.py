from typing import Any

from service.workers import merge_metrics, merge_status


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "version": "1",
        "phase": "running",
        "ready": True,
        "reason": None,
        "live": True,
        "stale": False,
        "age_s": 0.1,
        "broker_silent_s": 0.0,
        "dashboards": 2,
        "pipelines": {
            "logs": {
                "rate_in": 10.0,
                "rate_out": 3.0,
                "latency_ms": {"p50": 1.0, "p99": 4.0},
                "dead_letters": {"decode": 1},
                "in_flight": 5,
                "parked": 0,
                "channel": {"depth": 1, "peak": 2, "capacity": 100, "bytes": 10},
                "partitions": [{"topic": "t", "partition": 0}],
            }
        },
        **changes,
    }


def test_samples_of_all_workers_stand_under_one_head() -> None:
    text = '# HELP a Things.\n# TYPE a counter\na{topic="t"} 1\n'

    merged = merge_metrics([text, "", text.replace(" 1", " 2") + "# HELP b B.\nb 3\n"])

    assert merged.splitlines() == [
        "# HELP a Things.",
        "# TYPE a counter",
        'a{worker="0",topic="t"} 1',
        'a{worker="2",topic="t"} 2',
        "# HELP b B.",
        'b{worker="2"} 3',
    ]


def test_no_worker_gives_an_empty_exposition() -> None:
    assert merge_metrics(["", ""]) == ""


def test_rates_add_up_and_the_worst_latency_is_shown() -> None:
    slow = _document()
    slow["pipelines"]["logs"]["latency_ms"] = {"p50": 2.0, "p99": 90.0}
    slow["pipelines"]["logs"]["dead_letters"] = {"decode": 2, "schema": 1}

    merged = merge_status([_document(), slow])

    logs = merged["pipelines"]["logs"]
    assert (logs["rate_in"], logs["rate_out"], logs["in_flight"]) == (20.0, 6.0, 10)
    assert logs["latency_ms"] == {"p50": 2.0, "p99": 90.0}
    assert logs["dead_letters"] == {"decode": 3, "schema": 1}
    assert logs["channel"] == {"depth": 2, "peak": 4, "capacity": 200, "bytes": 20}
    assert [partition["worker"] for partition in logs["partitions"]] == [0, 1]
    assert (merged["workers"], merged["dashboards"]) == (2, 4)


def test_one_worker_that_is_not_ready_makes_the_service_not_ready() -> None:
    starting = _document(phase="starting", ready=False, reason="starting")

    merged = merge_status([_document(), starting])

    assert (merged["ready"], merged["reason"], merged["phase"]) == (False, "starting", "starting")


def test_before_any_worker_answers_the_service_is_starting_and_alive() -> None:
    merged = merge_status([])

    assert (merged["phase"], merged["ready"], merged["live"]) == ("starting", False, True)

from typing import Any

from service.workers.merge import merge_metrics, merge_status


def _document(**changes: Any) -> dict[str, Any]:
    return {
        "version": "1",
        "phase": "running",
        "ready": True,
        "reason": None,
        "live": True,
        "stale": False,
        "age_s": 0.1,
        "loop": {"lag_s": 0.0, "blocked_in": None},
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


def test_a_label_may_hold_what_python_takes_for_the_end_of_a_line() -> None:
    text = '# HELP a Things.\n# TYPE a gauge\na{group="x\u2028y\x85z"} 1\n'

    assert 'a{worker="0",group="x\u2028y\x85z"} 1\n' in merge_metrics([text])


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

    assert (merged["ready"], merged["phase"]) == (False, "starting")
    assert merged["reason"] == "worker 1: starting"


def test_a_worker_that_does_not_answer_leaves_the_others_their_numbers() -> None:
    merged = merge_status([None, _document(), _document()])

    partitions = merged["pipelines"]["logs"]["partitions"]
    assert [partition["worker"] for partition in partitions] == [1, 2]
    assert (merged["ready"], merged["phase"]) == (False, "starting")
    assert (merged["reason"], merged["workers"]) == ("worker 0: starting", 2)


def test_a_worker_that_does_not_answer_is_draining_while_the_service_drains() -> None:
    merged = merge_status([_document(), None], silent="draining")

    assert (merged["phase"], merged["reason"]) == ("draining", "worker 1: draining")


def test_the_worker_whose_loop_is_blocked_is_the_one_that_is_shown() -> None:
    blocked = _document(stale=True, loop={"lag_s": 12.0, "blocked_in": "own.py:3 in work"})

    merged = merge_status([_document(), blocked])

    assert merged["stale"]
    assert merged["loop"] == {"lag_s": 12.0, "blocked_in": "own.py:3 in work"}


def test_before_any_worker_answers_the_service_is_starting_and_alive() -> None:
    merged = merge_status([])

    assert (merged["phase"], merged["ready"], merged["live"]) == ("starting", False, True)

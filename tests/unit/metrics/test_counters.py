from service.metrics import PipelineCounters


def test_a_handler_has_one_set_of_counters() -> None:
    counters = PipelineCounters("logs")

    first = counters.handler("alerts")

    assert counters.handler("alerts") is first


def test_parked_events_sum_over_the_handlers() -> None:
    counters = PipelineCounters("logs")
    counters.handler("alerts").parked += 2
    counters.handler("geo").parked += 3

    assert counters.parked == 5


def test_dead_letters_count_by_code() -> None:
    counters = PipelineCounters("logs")

    counters.dead_lettered("decode", 3)
    counters.dead_lettered("timeout")
    counters.dead_lettered("decode")

    assert counters.dead_letters == {"decode": 4, "timeout": 1}


def test_latency_counts_records_not_batches() -> None:
    counters = PipelineCounters("logs")

    counters.record_latency(0.01, 250)

    assert counters.latency.count == 250

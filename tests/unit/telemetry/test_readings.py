from service.errors import ERROR_CODES
from service.metrics import (
    METRICS,
    Blocking,
    Cause,
    HubCounters,
    Kind,
    Metric,
    PartitionStatus,
    Phase,
    PipelineCounters,
    PipelineStatus,
    ServiceStatus,
    registry,
)
from service.telemetry.readings import HISTOGRAMS, NUMBERS, Sources


def test_every_metric_has_one_reader_and_every_reader_a_metric() -> None:
    histograms = {metric for metric in METRICS if metric.kind is Kind.HISTOGRAM}

    assert set(HISTOGRAMS) == histograms
    assert set(NUMBERS) == set(METRICS) - histograms


def _sources() -> Sources:
    counters = PipelineCounters("logs")
    counters.records_in = 100
    counters.dead_lettered("decode", 3)
    counters.handle_s = 1.5
    counters.handler("alerts").retries = 7
    counters.handler("alerts").durations.record(0.01, 5)
    counters.record_latency(0.02, 9)
    partition = PartitionStatus(
        topic="logs.raw",
        partition=2,
        group="g",
        lag=55,
        blocking=Blocking(cause=Cause.RETRY, offset=1),
    )
    pipeline = PipelineStatus(
        partitions=(partition,), dropped=6, in_flight=12, running={"alerts": 2}
    )
    status = ServiceStatus(phase=Phase.RUNNING, pipelines={"logs": pipeline})
    hub = HubCounters()
    hub.dropped = 4
    return Sources(
        counters=lambda: [counters],
        status=lambda: status,
        hub=hub,
        ready=lambda: True,
        version="1.2.3",
    )


def test_labels_come_in_the_order_of_the_registry() -> None:
    sources = _sources()

    for metric, read in NUMBERS.items():
        for labels, number in read(sources):
            assert len(labels) == len(metric.labels), metric.name
            assert isinstance(float(number), float)
    for metric, read_histograms in HISTOGRAMS.items():
        for labels, _ in read_histograms(sources):
            assert len(labels) == len(metric.labels), metric.name


def test_dead_letters_are_counted_from_0_on_for_each_code_that_there_may_be() -> None:
    counters = PipelineCounters("logs")
    counters.dead_lettered("of-a-handlers-own")
    sources = Sources(counters=lambda: [counters])

    read = dict(NUMBERS[registry.DEAD_LETTERS](sources))

    assert read == {("logs", "of-a-handlers-own"): 1} | {("logs", code): 0 for code in ERROR_CODES}


def test_numbers_are_those_of_the_counters_and_the_snapshot() -> None:
    sources = _sources()

    def read(metric: Metric) -> dict[tuple[str, ...], float]:
        return dict(NUMBERS[metric](sources))

    assert read(registry.CONSUMED) == {("logs",): 100}
    assert read(registry.DEAD_LETTERS)["logs", "decode"] == 3
    assert read(registry.RETRIES) == {("logs", "alerts"): 7}
    assert read(registry.STAGE_TIME)["logs", "handle"] == 1.5
    assert read(registry.DROPPED) == {("logs",): 6}
    assert read(registry.IN_FLIGHT) == {("logs",): 12}
    assert read(registry.RUNNING) == {("logs", "alerts"): 2}
    assert read(registry.LAG) == {("logs", "g", "logs.raw", "2"): 55}
    assert read(registry.READY) == {(): 1}
    assert read(registry.DASHBOARD_DROPPED) == {(): 4}
    assert read(registry.BUILD) == {("1.2.3",): 1}


def test_exactly_one_cause_and_one_phase_is_true() -> None:
    sources = _sources()

    blocked = dict(NUMBERS[registry.BLOCKED](sources))
    phases = dict(NUMBERS[registry.PHASE](sources))

    assert [labels[-1] for labels, number in blocked.items() if number] == ["retry"]
    assert len(blocked) == len(Cause)
    assert [labels for labels, number in phases.items() if number] == [("running",)]

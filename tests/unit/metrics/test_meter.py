import pytest

from service.metrics import PipelineCounters, PipelineMeter


def test_the_first_reading_knows_no_rate() -> None:
    counters = PipelineCounters("logs")
    counters.records_in = 1000

    reading = PipelineMeter(counters).read(100.0)

    assert (reading.rate_in, reading.rate_out) == (0.0, 0.0)


def test_rates_are_per_second_over_the_window() -> None:
    counters = PipelineCounters("logs")
    meter = PipelineMeter(counters)
    reading = meter.read(0.0)

    for second in range(1, 31):
        counters.records_in += 100
        counters.results_out += 30
        reading = meter.read(float(second))

    assert reading.rate_in == pytest.approx(100)
    assert reading.rate_out == pytest.approx(30)


def test_a_stall_shows_as_rate_zero_after_ten_seconds() -> None:
    counters = PipelineCounters("logs")
    meter = PipelineMeter(counters)
    meter.read(0.0)
    counters.records_in += 1000

    rates = [meter.read(float(second)).rate_in for second in range(1, 13)]

    assert rates[0] == 1000
    assert rates[9] == 100
    assert rates[10] == 0


def test_latency_forgets_what_is_older_than_a_minute() -> None:
    counters = PipelineCounters("logs")
    meter = PipelineMeter(counters)
    meter.read(0.0)
    counters.record_latency(2.0, 10)

    early = meter.read(5.0)
    for second in range(10, 70, 5):
        meter.read(float(second))
    counters.record_latency(0.004, 10)
    late = meter.read(70.0)

    assert early.latency_ms.p99 == pytest.approx(2000, rel=1 / 16)
    assert late.latency_ms.p99 == pytest.approx(4, rel=1 / 16)


def test_memory_stays_bounded_however_often_it_is_read() -> None:
    meter = PipelineMeter(PipelineCounters("logs"))

    for tick in range(2000):
        meter.read(tick * 0.5)

    assert len(meter._totals) <= 22
    assert len(meter._latencies) <= 14

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.metrics import METRICS, PipelineCounters, ServiceStatus
from service.telemetry.exposition import Exposition
from service.telemetry.readings import Sources


def _counters() -> PipelineCounters:
    counters = PipelineCounters("logs")
    counters.records_in = 1000
    counters.dead_lettered("decode", 2)
    counters.handler("alerts").durations.record(0.003, 10)
    counters.record_latency(0.003, 10)
    counters.record_latency(120.0)
    return counters


def _text(sources: Sources | None = None) -> str:
    counters = _counters()
    return Exposition(sources or Sources(counters=lambda: [counters])).text().decode()


def test_every_metric_of_the_registry_is_described() -> None:
    text = _text()

    for metric in METRICS:
        assert f"# HELP {metric.prometheus_name} {metric.about}\n" in text
        assert f"# TYPE {metric.prometheus_name} {metric.kind}\n" in text


def test_numbers_are_read_at_each_scrape() -> None:
    counters = _counters()
    exposition = Exposition(Sources(counters=lambda: [counters]))
    exposition.text()

    counters.records_in += 1

    sample = 'messaging_client_consumed_messages_total{service_pipeline="logs"} 1001.0\n'
    assert sample in exposition.text().decode()


def test_a_histogram_counts_up_to_its_bounds() -> None:
    samples = {
        (sample.name, sample.labels.get("le")): sample.value
        for family in text_string_to_metric_families(_text())
        for sample in family.samples
        if family.name == "service_record_latency_seconds"
    }

    assert samples["service_record_latency_seconds_bucket", "0.0025"] == 0
    assert samples["service_record_latency_seconds_bucket", "0.005"] == 10
    assert samples["service_record_latency_seconds_bucket", "60.0"] == 10
    assert samples["service_record_latency_seconds_bucket", "+Inf"] == 11
    assert samples["service_record_latency_seconds_count", None] == 11
    assert samples["service_record_latency_seconds_sum", None] == pytest.approx(120.03)


def test_the_process_itself_is_measured() -> None:
    text = _text(Sources(status=ServiceStatus))

    assert "process_resident_memory_bytes " in text
    assert "python_gc_collections_total" in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_has_nothing_to_say() -> None:
    checked = subprocess.run(  # noqa: S603 -- our own text on its standard input
        [shutil.which("promtool") or "", "check", "metrics"],
        input=_text(),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")

import re

import pytest
from opentelemetry.semconv._incubating.metrics import messaging_metrics

from service.metrics import METRICS, Metric


def test_names_are_unique() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.prometheus_name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_says_what_it_is_in_one_sentence(metric: Metric) -> None:
    assert re.fullmatch(r"[A-Z1].*[^.]\.", metric.about)
    assert "\n" not in metric.about


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_named_by_convention(metric: Metric) -> None:
    conventional = {
        value for name, value in vars(messaging_metrics).items() if name.startswith("MESSAGING_")
    }

    assert (
        metric.name in conventional
        or metric.name == "kafka.consumer_group.lag"
        or metric.name.startswith("service.")
    )
    assert metric.unit in {"s", "By", "1"} or re.fullmatch(r"\{[a-z]+\}", metric.unit)

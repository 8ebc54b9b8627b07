import pytest

from service.telemetry.otel_env import (
    pushes_metrics,
    pushes_traces,
    sample_ratio,
    unspoken_protocols,
)

_ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def test_nothing_is_pushed_unless_there_is_an_endpoint() -> None:
    assert not pushes_traces({})
    assert not pushes_metrics({})
    assert pushes_traces(_ENDPOINT)
    assert pushes_metrics(_ENDPOINT)


def test_a_signal_has_an_endpoint_of_its_own() -> None:
    traces_only = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}

    assert pushes_traces(traces_only)
    assert not pushes_metrics(traces_only)


@pytest.mark.parametrize(
    ("exporter", "pushed"),
    [("none", False), ("otlp", True), ("console,otlp", True), ("prometheus", False)],
)
def test_an_exporter_variable_chooses(exporter: str, *, pushed: bool) -> None:
    assert pushes_metrics({**_ENDPOINT, "OTEL_METRICS_EXPORTER": exporter}) is pushed


def test_the_sdk_can_be_disabled() -> None:
    disabled = {**_ENDPOINT, "OTEL_SDK_DISABLED": "True"}

    assert not pushes_traces(disabled)
    assert not pushes_metrics(disabled)


@pytest.mark.parametrize(
    ("sampler", "argument", "ratio"),
    [
        ("", "", 0.01),
        ("always_on", "", 1.0),
        ("parentbased_always_off", "", 0.0),
        ("traceidratio", "0.25", 0.25),
        ("parentbased_traceidratio", "", 1.0),
        ("traceidratio", "7", 1.0),
        ("jaeger_remote", "", 0.01),
    ],
)
def test_the_sampler_variable_wins_over_the_setting(
    sampler: str, argument: str, ratio: float
) -> None:
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_SAMPLER_ARG": argument}

    assert sample_ratio(environ, default=0.01) == ratio


def test_a_protocol_that_is_not_spoken_is_found() -> None:
    environ = {
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json",
    }

    assert unspoken_protocols(environ) == [
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    ]
    assert unspoken_protocols({"OTEL_EXPORTER_OTLP_PROTOCOL": ""}) == []

"""What the standard ``OTEL_*`` variables ask for.

The exporters read their own variables (endpoints, headers, certificates, timeouts, intervals);
here is only decided whether there is an exporter at all, and the sampling ratio.
Specification: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
"""

from collections.abc import Mapping

from opentelemetry.sdk.environment_variables import (
    OTEL_EXPORTER_OTLP_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    OTEL_EXPORTER_OTLP_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
    OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_SDK_DISABLED,
    OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
)

OTEL_TRACES_EXPORTER = "OTEL_TRACES_EXPORTER"
OTEL_METRICS_EXPORTER = "OTEL_METRICS_EXPORTER"
PROTOCOL = "http/protobuf"


def pushes_traces(environ: Mapping[str, str]) -> bool:
    """Whether spans are exported by OTLP: an endpoint is set and nothing speaks against it."""
    return _pushes(environ, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_TRACES_EXPORTER)


def pushes_metrics(environ: Mapping[str, str]) -> bool:
    """Whether metrics are pushed by OTLP; Prometheus' pull is independent of it."""
    return _pushes(environ, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, OTEL_METRICS_EXPORTER)


def _pushes(environ: Mapping[str, str], endpoint: str, exporter: str) -> bool:
    if environ.get(OTEL_SDK_DISABLED, "").strip().lower() == "true":
        return False
    if not (environ.get(endpoint) or environ.get(OTEL_EXPORTER_OTLP_ENDPOINT)):
        return False
    names = [name.strip() for name in environ.get(exporter, "").split(",") if name.strip()]
    return not names or "otlp" in names


def unspoken_protocols(environ: Mapping[str, str]) -> list[str]:
    """Variables that ask for another protocol than ours, OTLP in protobuf over HTTP.

    A collector's port for gRPC takes none of what we send.
    """
    variables = (
        OTEL_EXPORTER_OTLP_PROTOCOL,
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
        OTEL_EXPORTER_OTLP_METRICS_PROTOCOL,
    )
    return [name for name in variables if environ.get(name, "").strip() not in {"", PROTOCOL}]


def sample_ratio(environ: Mapping[str, str], default: float) -> float:
    """Share of the records without a sampling decision that are traced, 0 to 1.

    ``OTEL_TRACES_SAMPLER`` wins over ``default``; with or without the ``parentbased_`` prefix a
    producer's own decision is always followed.
    """
    match _sampler(environ):
        case "always_on":
            return 1.0
        case "always_off":
            return 0.0
        case "traceidratio":
            # the specification's default is 1 where the argument is missing or wrong
            ratio = _argument(environ)
            return 1.0 if ratio is None else ratio
        case _:
            return default


def misunderstood_sampler(environ: Mapping[str, str]) -> str | None:
    """The variable of the sampler whose value means nothing, so that a default is taken."""
    sampler = _sampler(environ)
    if sampler not in {"", "always_on", "always_off", "traceidratio"}:
        return OTEL_TRACES_SAMPLER
    given = environ.get(OTEL_TRACES_SAMPLER_ARG, "").strip()
    if sampler == "traceidratio" and given and _argument(environ) is None:
        return OTEL_TRACES_SAMPLER_ARG
    return None


def _sampler(environ: Mapping[str, str]) -> str:
    return environ.get(OTEL_TRACES_SAMPLER, "").strip().removeprefix("parentbased_")


def _argument(environ: Mapping[str, str]) -> float | None:
    try:
        ratio = float(environ.get(OTEL_TRACES_SAMPLER_ARG, ""))
    except ValueError:
        return None
    return ratio if 0 <= ratio <= 1 else None

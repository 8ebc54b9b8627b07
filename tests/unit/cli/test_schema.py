from typing import Any

import jsonschema
import pytest

from service.cli.schema import configuration_schema
from service.settings.model import DEFAULT_PIPELINES


def _delayed_by(*topics: Any) -> dict[str, Any]:
    handlers = {"h": {"use": "log_alerts", "retry": {"delay_topics": list(topics)}}}
    sources = {"kafka": {"topics": ["logs"], "group_id": "g"}}
    return {"pipelines": {"p": {"sources": sources, "dead_letter": "d", "handlers": handlers}}}


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(configuration_schema())


@pytest.mark.parametrize(
    "configuration",
    [
        {},
        DEFAULT_PIPELINES,
        {"kafka": {"bootstrap_servers": ["kafka:9092"]}, "workers": 2},
        _delayed_by("logs.retry.30s", {"topic": "later", "delay_s": 60}),
    ],
    ids=["empty", "the default pipeline", "a broker", "delay topics by their names"],
)
def test_a_right_configuration_fits_it(configuration: dict[str, Any]) -> None:
    jsonschema.validate(configuration, configuration_schema())


@pytest.mark.parametrize(
    "configuration",
    [
        {"kafak": {}},
        {"server": {"port": "x"}},
        {"kafka": {"consumer": {"enable_auto_commit": True}}},
        {"pipelines": {"p": {"sources": {"kafka": {"topic": "a"}}}}},
        _delayed_by("logs.retry"),
    ],
    ids=[
        "unknown key",
        "wrong type",
        "refused option",
        "wrong source",
        "a delay topic without one",
    ],
)
def test_a_wrong_configuration_does_not(configuration: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(configuration, configuration_schema())

from typing import Any

import jsonschema
import pytest

from service.cli.schema import configuration_schema
from service.settings.model import DEFAULT_PIPELINES


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(configuration_schema())


@pytest.mark.parametrize(
    "configuration",
    [{}, DEFAULT_PIPELINES, {"kafka": {"bootstrap_servers": ["kafka:9092"]}, "workers": 2}],
    ids=["empty", "the default pipeline", "a broker"],
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
    ],
    ids=["unknown key", "wrong type", "refused option", "wrong source"],
)
def test_a_wrong_configuration_does_not(configuration: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(configuration, configuration_schema())

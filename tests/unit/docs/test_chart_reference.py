from typing import Any

import orjson
import pytest
import yaml

from docs.chart_reference import CHART, README, SCHEMA, readme, schema


def test_the_values_schema_is_what_the_settings_say() -> None:
    assert SCHEMA.read_bytes() == schema(), "run: python -m docs.chart_reference"


def test_the_chart_readme_is_what_the_values_say() -> None:
    assert README.read_text(encoding="utf-8") == readme(), "run: python -m docs.chart_reference"


def test_no_key_of_the_chart_schema_holds_a_secret() -> None:
    assert b'"writeOnly"' not in schema()


def _leaves(values: Any, path: str = "") -> list[str]:
    if not isinstance(values, dict) or not values:
        return [path]
    return [leaf for key, below in values.items() for leaf in _leaves(below, f"{path}.{key}")]


def test_every_value_has_a_description() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    described = [line.split("`")[1] for line in readme().splitlines() if line.startswith("| `")]

    missing = [
        leaf[1:]
        for leaf in _leaves(values)
        if not any(leaf[1:] == name or leaf[1:].startswith(f"{name}.") for name in described)
    ]

    assert missing == []


@pytest.mark.parametrize("section", ["config", "monitoring", "keda", "networkPolicy"])
def test_the_schema_closes_every_section(section: str) -> None:
    assert orjson.loads(schema())["properties"][section]["additionalProperties"] is False

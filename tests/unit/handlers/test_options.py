from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel, ConfigDict, Field, FilePath

from service.errors import ConfigurationError
from service.handlers.options import validate_options


class _Options(BaseModel):
    window: int = Field(default=10, ge=2)
    fields: list[str] = []


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass
class _DataOptions:
    window: int = 10


def test_options_become_an_instance_of_their_model() -> None:
    assert validate_options(_Options, {"window": "3"}, "options").window == 3
    assert validate_options(_DataOptions, {}, "options").window == 10
    assert validate_options(_Open, {"more": 1}, "options").more == 1
    assert validate_options(None, {}, "options") is None


@pytest.mark.parametrize(
    ("options", "problems"),
    [
        (
            {"window": 1, "fields": ["a", 2]},
            [
                "options.window: Input should be greater than or equal to 2",
                "options.fields.1: Input should be a valid string",
            ],
        ),
        ({"widnow": 3}, ["options.widnow: unknown option; known: fields, window"]),
    ],
    ids=["wrong values", "a typo"],
)
def test_every_problem_is_reported_with_its_path(
    options: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_options(_Options, options, "options")

    assert caught.value.problems == problems


class _Nested(BaseModel):
    rule: _Options | None = None
    rules: list[_Options] = []
    data: _DataOptions = Field(default_factory=_DataOptions, validation_alias="values")


@pytest.mark.parametrize(
    ("model", "options", "problems"),
    [
        (_DataOptions, {"widnow": 3}, ["options.widnow: unknown option; known: window"]),
        (
            _Nested,
            {"rule": {"widnow": 3}, "rules": [{}, {"field": []}], "values": {"w": 1}},
            [
                "options.rule.widnow: unknown option; known: fields, window",
                "options.rules.1.field: unknown option; known: fields, window",
                "options.values.w: unknown option; known: window",
            ],
        ),
    ],
    ids=["of a dataclass", "further down"],
)
def test_an_unknown_option_is_found_wherever_it_would_be_ignored(
    model: Any, options: dict[str, Any], problems: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        validate_options(model, options, "options")

    assert caught.value.problems == problems


def test_options_by_their_aliases_and_in_open_models_are_known() -> None:
    assert validate_options(_Nested, {"values": {"window": 3}}, "options").data.window == 3
    assert validate_options(_Open, {"more": {"deep": 1}}, "options").more == {"deep": 1}


class _Struct(msgspec.Struct):
    window: int = 10


def test_a_model_of_options_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^options: its model should be .*_Struct"):
        validate_options(_Struct, {}, "options")


class _WithFile(BaseModel):
    file: FilePath


@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_that_is_not_there_is_named(*, absolute: bool, tmp_path: Path) -> None:
    file = tmp_path / "rows.json" if absolute else Path("no/rows.json")
    seen = "" if absolute else f", seen from {Path.cwd()}"
    with pytest.raises(ConfigurationError) as caught:
        validate_options(_WithFile, {"file": str(file)}, "options")

    assert caught.value.problems == [f"options.file: there is no file {file}{seen}"]


def test_options_of_a_handler_without_any_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="takes no options, got: a, b"):
        validate_options(None, {"b": 1, "a": 2}, "options")

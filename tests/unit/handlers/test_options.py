from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

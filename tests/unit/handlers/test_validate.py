from pathlib import Path
from typing import Any

import pytest

from service.errors import ConfigurationError, SchemaError
from service.events import Event, RecordBatch, SourceRecord
from service.handlers import load_handler

_BATCH = RecordBatch("t", 0, [SourceRecord(b"")], next_offset=1)
_SCHEMA = {
    "type": "object",
    "required": ["id", "items"],
    "additionalProperties": False,
    "properties": {
        "id": {"type": "string", "pattern": "^o-"},
        "items": {"type": "array", "items": {"type": "object", "properties": {
            "count": {"type": "integer", "minimum": 1}}}},
        "at": {"type": "string", "format": "date"},
    },
}  # fmt: skip


def _call(data: Any, **options: Any) -> Any:
    return (
        load_handler("validate")
        .bind(options or {"schema": _SCHEMA})
        .call(Event(data, batch=_BATCH))
    )


def test_what_fits_goes_on_unchanged() -> None:
    data = {"id": "o-1", "items": [{"count": 2}]}

    assert _call(data) is data


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({"id": "o-1"}, "", "required: items missing"),
        ({"id": "secret", "items": []}, "id", "pattern: ^o-"),
        ({"id": "o-1", "items": [{"count": 0}]}, "items.0.count", "minimum: 1"),
        ({"id": "o-1", "items": [], "secret": 1}, "", "does not fit additionalProperties"),
        (["secret"], "", "type: object"),
    ],
    ids=["missing", "pattern", "nested", "unknown", "no object"],
)
def test_what_does_not_fit_names_the_field_and_not_its_content(
    data: Any, path: str, reason: str
) -> None:
    with pytest.raises(SchemaError) as caught:
        _call(data)

    assert (caught.value.path, caught.value.reason) == (path, reason)
    assert "secret" not in str(caught.value)


def test_formats_are_checked_when_asked_for() -> None:
    data = {"id": "o-1", "items": [], "at": "yesterday"}

    assert _call(data) is data
    with pytest.raises(SchemaError, match="at: format: date"):
        _call(data, schema=_SCHEMA, formats=True)


def test_the_schema_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"type": "string"}')

    assert _call("text", schema_file=str(file)) == "text"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "either schema or schema_file"),
        ({"schema": {"type": "objekt"}}, "not a JSON Schema"),
        ({"schema_file": "nowhere.json"}, "schema_file"),
        ({"schema": {"$schema": "urn:mine"}}, "names no dialect"),
        ({"schema": {"$ref": "https://example.org/x.json"}}, "nothing is fetched"),
        ({"schema": {"anyOf": [{"$ref": "#/$defs/nowhere"}], "$defs": {}}}, "#/\\$defs/nowhere"),
        ({"schema": {"allOf": [{}], "items": {"$ref": "#/allOf/1"}}}, "#/allOf/1"),
        ({"schema": {"$ref": "#nowhere"}}, "#nowhere"),
    ],
    ids=["neither", "no schema", "no file", "dialect", "elsewhere", "nowhere", "no such place",
         "no anchor"],
)  # fmt: skip
def test_a_schema_that_cannot_be_used_is_a_configuration_error(
    options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load_handler("validate").bind(options)


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "object"}}},
        {"$ref": "#/allOf/0", "allOf": [{"type": "object"}]},
        {"$ref": "#here", "$defs": {"x": {"$anchor": "here"}}},
        {"$ref": "part.json", "$id": "urn:x", "$defs": {"x": {"$id": "http://x/part.json"}}},
        {"$ref": "#/type", "$id": "urn:x", "$defs": {"x": {"$id": "http://x/part.json"}}},
        {"$ref": "https://json-schema.org/draft/2020-12/schema"},
        {"properties": {"child": {"$ref": "#"}}},
        {"properties": {"$ref": {"type": "string"}}},
        {"properties": {"kind": {"const": {"$ref": "#/nowhere"}}}},
    ],
    ids=["escaped", "in a list", "anchor", "another part", "perhaps of a part", "the dialect",
         "itself", "a property of that name", "data"],
)  # fmt: skip
def test_a_reference_that_is_found_in_the_schema_is_none_to_complain_of(schema: Any) -> None:
    load_handler("validate").bind({"schema": schema})


@pytest.mark.parametrize(
    ("multiple", "value", "fits"),
    [(0.01, 19.99, True), (0.01, 0.07, True), (0.1, 1.1, True), (0.0001, 0.0075, True),
     (0.01, 5, True), (0.01, 1e300, True), (0.01, 19.999, False), (0.01, 1e-300, False),
     (3, 9, True), (3, 10, False), (0.5, "text", True)],
)  # fmt: skip
def test_a_multiple_is_one_of_the_decimals_that_are_written(
    multiple: float,
    value: Any,
    fits: bool,  # noqa: FBT001
) -> None:
    schema = {"properties": {"amount": {"multipleOf": multiple}}}
    data = {"amount": value}

    if fits:
        assert _call(data, schema=schema) is data
    else:
        with pytest.raises(SchemaError, match=f"amount: multipleOf: {multiple}"):
            _call(data, schema=schema)


def test_draft_3_says_of_a_field_itself_that_it_is_required() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-03/schema#",
        "properties": {"id": {"required": True}, "n": {"divisibleBy": 0.1}},
    }

    assert _call({"id": 1, "n": 1.1}, schema=schema)
    with pytest.raises(SchemaError, match="id: does not fit required"):
        _call({}, schema=schema)

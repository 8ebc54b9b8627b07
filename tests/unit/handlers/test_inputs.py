from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import msgspec
import orjson
import pytest
from pydantic import BaseModel

from service.errors import ConfigurationError, SchemaError
from service.events import Event
from service.handlers.inputs import converter, is_data_type


class _Line(BaseModel):
    sku: str
    count: int


class _Order(BaseModel):
    id: str
    at: datetime
    state: Literal["new", "paid"] = "new"
    lines: list[_Line] = []


class _StructLine(msgspec.Struct):
    sku: str
    count: int


class _StructOrder(msgspec.Struct):
    id: str
    at: datetime
    state: Literal["new", "paid"] = "new"
    lines: list[_StructLine] = []


@dataclass
class _DataLine:
    sku: str
    count: int


@dataclass
class _DataOrder:
    id: str
    at: datetime
    lines: list[_DataLine]
    state: Literal["new", "paid"] = "new"


_GOOD = {"id": "a", "at": "2026-01-02T03:04:05Z", "lines": [{"sku": "x", "count": 2}]}
_TYPES = pytest.mark.parametrize("input_type", [_Order, _StructOrder, _DataOrder])


@_TYPES
def test_data_that_fits_becomes_an_instance(input_type: Any) -> None:
    order = converter(input_type)(_GOOD)

    assert isinstance(order, input_type)
    assert order.at == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert order.lines[0].count == 2


@_TYPES
def test_raw_bytes_are_read_as_json(input_type: Any) -> None:
    raw = b'{"id": "a", "at": "2026-01-02T03:04:05Z", "lines": []}'

    assert converter(input_type)(raw).id == "a"


@_TYPES
@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"id": 17}, "id"),
        ({"lines": [{"sku": "secret", "count": "17"}]}, "lines.0.count"),
        ({"lines": [{"sku": "x", "count": 1}, {"sku": "secret"}]}, "lines.1"),
        ({"state": "secret"}, "state"),
    ],
    ids=["wrong type", "text for a number", "missing field", "unknown literal"],
)
def test_what_does_not_fit_names_the_field_and_not_its_content(
    input_type: Any, change: dict[str, Any], path: str
) -> None:
    with pytest.raises(SchemaError) as caught:
        converter(input_type)({**_GOOD, **change})

    assert caught.value.path.startswith(path)
    assert "secret" not in str(caught.value)
    assert "17" not in caught.value.reason


@_TYPES
def test_bytes_that_are_no_json_are_a_schema_error(input_type: Any) -> None:
    with pytest.raises(SchemaError):
        converter(input_type)(b"{")


def test_only_models_structs_and_dataclasses_are_data_types() -> None:
    assert all(map(is_data_type, (_Order, _StructOrder, _DataOrder)))
    assert not any(map(is_data_type, (Event, str, list[_Order], None, dict | _Order)))


class _Row(TypedDict):
    id: str


@dataclass
class _Number:
    n: int


class _Unsupported(BaseModel):
    model_config = {"defer_build": True}

    of: "NowhereAtAll"  # type: ignore[name-defined]  # noqa: F821 -- the point


def test_a_typed_dict_is_checked_and_stays_a_dict() -> None:
    convert = converter(_Row)

    assert convert({"id": "a", "more": 1}) == {"id": "a"}
    with pytest.raises(SchemaError, match="id"):
        convert({"id": 1})


@pytest.mark.parametrize(
    "input_type", [dict, dict[str, Any], Mapping[str, object], MutableMapping[str, Any]], ids=str
)
def test_any_object_is_a_dict_and_nothing_else_is(input_type: Any) -> None:
    data = {"n": 1, "more": [None]}
    convert = converter(input_type)

    assert is_data_type(input_type)
    assert convert(data) is data
    assert convert(orjson.dumps(data)) == data
    for other in ([data], "text", 1, None):
        with pytest.raises(SchemaError):
            convert(other)


def test_what_a_dict_holds_is_checked_where_it_says_so() -> None:
    convert = converter(dict[str, int] | None)

    assert convert({"n": 1}) == {"n": 1}
    assert convert(None) is None
    with pytest.raises(SchemaError):
        convert({"n": "1"})


@pytest.mark.parametrize("input_type", [_DataLine | None, _StructLine | None])
def test_none_fits_where_the_type_says_so_and_nowhere_else(input_type: Any) -> None:
    convert = converter(input_type)

    assert convert(None) is None
    assert convert({"sku": "x", "count": 1}).count == 1
    with pytest.raises(SchemaError):
        convert({"sku": "x", "count": "1"})


def test_of_a_union_the_member_that_fits_is_made() -> None:
    convert = converter(_DataLine | _Number)

    assert convert({"n": 1}) == _Number(1)
    assert convert({"sku": "x", "count": 1}) == _DataLine("x", 1)


@pytest.mark.parametrize(
    ("input_type", "problem"),
    [
        (_Unsupported, "_Unsupported is no type of input"),
        (_StructLine | _StructOrder, "no type of"),
    ],
    ids=["an undefined name", "structs that nothing tells apart"],
)
def test_a_type_that_nothing_can_be_checked_against_is_a_configuration_error(
    input_type: Any, problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        converter(input_type)

    assert "\n" not in str(caught.value)


def test_structs_and_models_do_not_mix() -> None:
    assert not is_data_type(_Order | _StructOrder)

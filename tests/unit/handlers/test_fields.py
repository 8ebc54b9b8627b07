from typing import Any

import pytest

from service.errors import SchemaError
from service.handlers import fields

_ROWS: list[Any] = [{"a": "x", "b": {"c": 1}}, {"b": {"c": 2}}, "no mapping", None, ["list"]]


@pytest.mark.parametrize("rows", [_ROWS, _ROWS[:2]], ids=["any data", "mappings"])
@pytest.mark.parametrize("path", ["a", "b.c", "nowhere"])
def test_many_are_read_like_each_one(path: str, rows: list[Any]) -> None:
    one, many = fields.optional(path), fields.optionals(path)

    assert many(rows) == [one(row) for row in rows]


def test_texts_takes_whole_numbers_too_and_names_what_is_neither() -> None:
    read = fields.texts("id")

    assert read([{"id": "a"}, {"id": "b"}]) == ["a", "b"]
    assert read([{"id": "a"}, {"id": 7}]) == ["a", "7"]
    with pytest.raises(SchemaError) as caught:
        read([{"id": "a"}, {"id": True}])
    assert caught.value.path == "id"

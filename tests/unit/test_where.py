from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import Failure
from service.expressions import MAX_EXPRESSION
from service.where import MAX_DEPTH, MAX_TERMS, WhereError, compile_where

LOG = {"level": "WARN", "n": 5, "flag": True, "none": None, "a": {"b": {"c": "x"}}, "a.b": "dot"}


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        (None, True),
        ({"field": "level", "in": ["WARN", "ERROR"]}, True),
        ({"field": "level", "in": ["INFO"]}, False),
        ({"field": "level", "not_in": ["INFO"]}, True),
        ({"field": "level", "equals": "WARN"}, True),
        ({"field": "level", "not_equals": "WARN"}, False),
        ({"field": "missing", "not_equals": "WARN"}, True),
        ({"field": "missing", "equals": None}, False),
        ({"field": "none", "equals": None}, True),
        ({"field": "n", "equals": 5.0}, True),
        ({"field": "n", "equals": "5"}, False),
        ({"field": "flag", "equals": 1}, False),
        ({"field": "flag", "in": [True, 7]}, True),
        ({"field": "n", "gt": 4, "lte": 5}, True),
        ({"field": "n", "gte": 6}, False),
        ({"field": "n", "lt": 5}, False),
        ({"field": "flag", "gt": 0}, False),
        ({"field": "level", "gt": 0}, False),
        ({"field": "level", "gt": "INFO"}, True),
        ({"field": "level", "starts_with": "WA"}, True),
        ({"field": "n", "starts_with": "5"}, False),
        ({"field": "none", "exists": True}, True),
        ({"field": "missing", "exists": False}, True),
        ({"field": "a.b.c", "equals": "x"}, True),
        ({"field": "a.b", "equals": "dot"}, True),
        ({"field": "level.x", "exists": True}, False),
        ({"all": [{"field": "n", "gt": 1}, {"field": "n", "gt": 9}]}, False),
        ({"any": [{"field": "n", "gt": 1}, {"field": "n", "gt": 9}]}, True),
        ({"not": {"field": "n", "gt": 9}}, True),
        ({"expression": "level == 'WARN' && n > `4`"}, True),
        ({"expression": "a.b.d"}, False),
        ({"expression": "length(n) > `1`"}, False),
    ],
)
def test_a_filter_selects_what_it_says(where: dict[str, Any] | None, expected: bool) -> None:  # noqa: FBT001 -- a table
    compiled = compile_where(where)

    assert compiled(LOG) is expected
    assert compiled.select_many([LOG]) == ([0] if expected else [])


@pytest.mark.parametrize(
    ("where", "path", "reason"),
    [
        ({}, "", "exactly one of"),
        ({"field": "a", "all": []}, "", "exactly one of"),
        ({"field": "a"}, "", "needs one of"),
        ({"field": 1, "in": []}, "field", "name of a field"),
        ({"field": "a", "in": "x"}, "in", "a list"),
        ({"field": "a", "in": [[]]}, "in[0]", "text, a number"),
        ({"field": "a", "equals": {}}, "equals", "text, a number"),
        ({"field": "a", "is": 1}, "is", "no operator"),
        ({"field": "a", "exists": "yes"}, "exists", "true or false"),
        ({"field": "a", "gt": True}, "gt", "a number or a string"),
        ({"field": "a", "starts_with": 1}, "starts_with", "a string"),
        ({"all": []}, "all", "not empty"),
        ({"any": [{"field": "a", "gt": None}]}, "any[0].gt", "a number"),
        ({"not": []}, "not", "a map"),
        ({"not": {"field": "a", "exists": True}, "x": 1}, "x", "no place"),
        ({"expression": ""}, "expression", "JMESPath"),
        ({"expression": "a ="}, "expression", "no JMESPath"),
        ({"expression": "a" * (MAX_EXPRESSION + 1)}, "expression", "longer"),
        ({"expression": "|".join(["[@,@]"] * 40 + ["to_string(@)"])}, "expression", "64 times"),
        ({"expression": "|".join(["[@,@][]"] * 40)}, "expression", "64 times"),
        ({"expression": "|".join(["{a:@,b:@}"] * 40)}, "expression", "64 times"),
        ({"expression": "|".join(["map(&[@,@],@)"] * 40)}, "expression", "64 times"),
        ({"expression": "|".join(["[@]|to_string(@)"] * 40)}, "expression", "64 times"),
        ({"expression": "|".join(["join(@,['a',@,'b'])"] * 40)}, "expression", "64 times"),
        ({"field": "a", "in": list(range(MAX_TERMS + 1))}, "in", "more than"),
        ({"any": [{"field": "a", "exists": True}] * MAX_TERMS}, f"any[{MAX_TERMS - 1}]", "terms"),
    ],
)
def test_what_is_no_filter_is_refused_with_its_path(
    where: dict[str, Any], path: str, reason: str
) -> None:
    with pytest.raises(WhereError) as caught:
        compile_where(where)

    assert caught.value.path == path
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("level = 'WARN'", "Unknown token '=', at character 7"),
        ("level ==", "it ends too early"),
        ("level == 'WARN", "Unclosed ' delimiter, at character 10"),
        ("level 'WARN'", "Unexpected token: WARN, at character 7"),
        ("a.[b] ]", "Unexpected token: ], at character 7"),
        ("a && || b", "invalid token ||, at character 6"),
        ("f(a, \n]", "invalid token ], at character 7"),
        ("!" * 999 + "a", "it is nested too deeply"),
    ],
)
def test_what_is_wrong_with_an_expression_is_said_in_one_whole_line(
    expression: str, complaint: str
) -> None:
    with pytest.raises(WhereError) as caught:
        compile_where({"expression": expression})

    assert caught.value.reason == f"is no JMESPath expression: {complaint}"


def test_nesting_is_bounded() -> None:
    where: dict[str, Any] = {"field": "a", "exists": True}
    for _ in range(MAX_DEPTH + 1):
        where = {"not": where}

    with pytest.raises(WhereError, match="nested deeper"):
        compile_where(where)


@pytest.mark.parametrize(
    "expression",
    [
        "||".join(f"a=='{n}'" for n in range(100)),
        "contains([a,b,c], 'x') && length(items[?price > `3`].{n: name, p: price}[]) > `1`",
        "sort_by(items, &price)[:3].name | join(',', @) | contains(@, 'x')",
    ],
)
def test_expressions_that_do_not_multiply_what_they_read_are_taken(expression: str) -> None:
    assert compile_where({"expression": expression})({"a": "b"}) is False


_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["f", "g"]), inner),
    max_leaves=6,
)


@pytest.mark.parametrize(
    "where",
    [
        {"field": "f", "in": ["a", "b"]},
        {"field": "f.g", "not_in": [1, None]},
        {"field": "f", "gt": 1},
        {"expression": "f.g > `1` || contains(f, 'x')"},
    ],
    ids=["texts", "nested", "order", "expression"],
)
@given(datas=st.lists(_ANYTHING, max_size=10))
def test_a_filter_takes_any_data_and_a_chunk_is_its_members(
    where: dict[str, Any], datas: list[Any]
) -> None:
    compiled = compile_where(where)
    datas = [*datas, Failure("decode", "x", stage="normalize"), object()]

    assert compiled.select_many(datas) == [i for i, data in enumerate(datas) if compiled(data)]

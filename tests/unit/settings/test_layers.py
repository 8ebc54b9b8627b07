from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.settings.layers import Layers, is_service_link, leaves


def layers_of(environ: dict[str, str], data: dict[str, object] | None = None) -> Layers:
    layers = Layers()
    layers.add(data or {}, "file")
    layers.add_environment(environ, "HEADRACE_")
    return layers


def test_a_variable_names_a_nested_key() -> None:
    assert layers_of({"HEADRACE_A__B__C": "1"}).data == {"a": {"b": {"c": "1"}}}


def test_a_variable_finds_a_key_with_dashes_and_capitals() -> None:
    layers = layers_of({"HEADRACE_P__MY_LOGS__X": "2"}, {"p": {"My-Logs": {"x": 1}}})

    assert layers.data == {"p": {"My-Logs": {"x": "2"}}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [('["a", "b"]', ["a", "b"]), ("a,b", "a,b"), ('{"x": 1}', {"x": 1}), ("null", None)],
)
def test_a_variable_may_hold_json(text: str, expected: object) -> None:
    assert layers_of({"HEADRACE_A": text}).data == {"a": expected}


@pytest.mark.parametrize("text", ["[x7!", "{}", "12345"])
@pytest.mark.parametrize(
    "variable",
    ["KAFKA__SASL_PLAIN_PASSWORD", "P__SOURCES__FEED__HEADERS__X_KEY", "H__OPTIONS__API_KEY"],
)
def test_a_secret_is_taken_as_it_is(variable: str, text: str) -> None:
    layers = layers_of({f"HEADRACE_{variable}": text})

    assert [value for _, value in leaves(layers.data)] == [text]
    assert layers.problems == []


def test_broken_json_in_a_variable_is_a_problem_with_its_path() -> None:
    layers = layers_of({"HEADRACE_A__B": "[1,"})

    assert [problem.line() for problem in layers.problems] == [
        "a.b: is no valid JSON (from HEADRACE_A__B)"
    ]


def test_numbers_among_free_options_are_numbers() -> None:
    assert layers_of({"HEADRACE_OPTIONS__LIMIT": "5", "HEADRACE_OPTIONS__NAME": "x"}).data == {
        "options": {"limit": 5, "name": "x"}
    }


@pytest.mark.parametrize(
    ("operator", "text", "expected"),
    [
        ("GT", "5", 5),
        ("EQUALS", "true", True),
        ("EQUALS", "WARN", "WARN"),
        ("EQUALS", '"5"', "5"),
        ("IN", "WARN, ERROR", ["WARN", "ERROR"]),
        ("IN", "1,2", [1, 2]),
        ("NOT_IN", '["a,b"]', ["a,b"]),
    ],
)
def test_values_of_a_filter_are_what_a_file_would_hold(
    operator: str, text: str, expected: object
) -> None:
    variable = f"HEADRACE_PIPELINES__P__HANDLERS__H__WHERE__{operator}"

    (value,) = [value for _, value in leaves(layers_of({variable: text}).data)]

    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize("variable", ["HEADRACE_", "HEADRACE_A____B", "HEADRACE___A"])
def test_a_variable_with_an_empty_part_is_a_problem(variable: str) -> None:
    assert [problem.path for problem in layers_of({variable: "1"}).problems] == [(variable,)]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HEADRACE_SERVICE_HOST", "10.0.0.1"),
        ("HEADRACE_SERVICE_PORT", "8080"),
        ("HEADRACE_SERVICE_PORT_HTTP", "8080"),
        ("HEADRACE_PORT", "tcp://10.0.0.1:8080"),
        ("HEADRACE_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("HEADRACE_PORT_8080_TCP_PROTO", "tcp"),
        ("HEADRACE_PORT_8080_TCP_PORT", "8080"),
        ("HEADRACE_ADMIN_PORT_8081_TCP_ADDR", "10.0.0.1"),
    ],
)
def test_variables_of_a_kubernetes_service_named_headrace_are_not_ours(
    variable: str, value: str
) -> None:
    assert layers_of({variable: value}).data == {}
    assert is_service_link(variable, value)


@pytest.mark.parametrize(
    "variable", ["HEADRACE_ADMIN_PORT", "HEADRACE_PORT", "HEADRACE_SERVER__PORT"]
)
def test_a_port_number_is_never_taken_for_kubernetes(variable: str) -> None:
    assert not is_service_link(variable, "8080")


def test_a_key_given_twice_is_an_error_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("a: 1\nb: 2\na: 3\n")
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert layers.problems[0].line() == (
        f"{file}: is no valid YAML at line 3, column 1: the key 'a' appears twice"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "base: &base {x: 1, y: 1}\na: {<<: *base, x: 2}\n", {"x": 2, "y": 1}, id="one"
        ),
        pytest.param(
            "one: &one {x: 1}\ntwo: &two {x: 2, y: 2}\na: {<<: [*one, *two]}\n",
            {"x": 1, "y": 2},
            id="several",
        ),
        pytest.param(
            # longer names are not one object in memory, as those of one letter are
            "one: &one {name: 1}\ntwo: &two {name: 2, other: 2}\na: {<<: [*one, *two]}\n",
            {"name": 1, "other": 2},
            id="several with longer names",
        ),
        pytest.param(
            # b merges the inner map before the inner map is made
            "base: &base {x: 1}\nb: {n: &inner {<<: *base, x: 2}}\na: {<<: *inner}\n",
            {"x": 2},
            id="one that merges another",
        ),
    ],
)
def test_maps_can_be_merged_by_yaml(tmp_path: Path, text: str, expected: dict[str, object]) -> None:
    file = tmp_path / "merged.yaml"
    file.write_text(text)
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert layers.problems == []
    assert layers.data["a"] == expected


def test_an_equals_sign_is_text_without_quotes_too(tmp_path: Path) -> None:
    file = tmp_path / "plain.yaml"  # as Helm writes it, whatever quotes there were
    file.write_text("separator: =\nwhere: {in: [=, <<]}\n")
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert layers.problems == []
    assert layers.data == {"separator": "=", "where": {"in": ["=", "<<"]}}


def test_a_key_beside_a_merge_may_not_be_written_twice(tmp_path: Path) -> None:
    file = tmp_path / "twice.yaml"
    file.write_text("base: &base {x: 1}\na:\n  <<: *base\n  x: 2\n  x: 3\n")
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert [problem.line() for problem in layers.problems] == [
        f"{file}: is no valid YAML at line 5, column 3: the key 'x' appears twice"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "should hold a map"),
        ("a: [", "is no valid YAML at line"),
        ("a: !!python/object:os.system {}", "is no valid YAML"),
        ("1: x", "the key should be text"),
        ("a: &a {b: *a}", "holds a map that contains itself"),
        ("? [1]\n: x", "is no valid YAML at line"),
        ("? {a: 1}\n: x", "is no valid YAML at line"),
    ],
)
def test_a_file_that_is_no_map_of_text_keys_is_a_problem(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert message in layers.problems[0].line()


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.write_text("# nothing\n")
    layers = Layers()

    layers.add_values(layers.read(file), file)

    assert (layers.data, layers.problems) == ({}, [])


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    layers = Layers()

    layers.read(tmp_path / "nowhere.yaml")

    assert "No such file" in layers.problems[0].line()


def test_a_scalar_replaces_a_map_and_its_origins() -> None:
    layers = Layers()
    layers.add({"a": {"b": 1}}, "first")

    layers.add({"a": None}, "second")

    assert layers.data == {"a": None}
    assert layers.origins == {("a",): "second"}


_KEYS = st.sampled_from(["a", "b", "c"])
_MAPS = st.recursive(
    st.dictionaries(_KEYS, st.integers()),
    lambda inner: st.dictionaries(_KEYS, inner | st.integers()),
    max_leaves=8,
)


@given(st.lists(_MAPS, max_size=4))
def test_every_leaf_has_exactly_one_origin_and_the_last_layer_keeps_its_own(
    maps: list[dict[str, object]],
) -> None:
    layers = Layers()
    for index, values in enumerate(maps):
        layers.add(values, str(index))

    merged = dict(leaves(layers.data))
    if maps:
        for path, value in leaves(maps[-1]):
            if value != {}:
                assert merged[path] == value
                assert layers.origins[path] == str(len(maps) - 1)
    for path, value in merged.items():
        if value != {}:
            assert path in layers.origins


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ({"field": "n", "in": [1]}, {"expression": "n > `1`"}, {"expression": "n > `1`"}),
        ({"not": {"field": "n", "in": [1]}}, {"not": {"any": []}}, {"not": {"any": []}}),
        ({"field": "n", "gte": 1}, {"lt": 3}, {"field": "n", "gte": 1, "lt": 3}),
        ({"gte": 1}, {"field": "n"}, {"gte": 1, "field": "n"}),
    ],
    ids=["another kind", "another kind within", "more of the same", "the rest of it"],
)
def test_a_filter_of_another_kind_replaces_the_first(
    first: dict[str, object], second: dict[str, object], expected: dict[str, object]
) -> None:
    layers = Layers()

    for where in (first, second):
        layers.add({"pipelines": {"p": {"handlers": {"h": {"where": where}}}}}, "file")

    handler = layers.data["pipelines"]["p"]["handlers"]["h"]
    assert handler["where"] == expected
    assert {path[4:] for path in layers.origins} == {path[1:] for path, _ in leaves({"": handler})}

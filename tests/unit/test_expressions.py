import pytest

from service.expressions import ExpressionError, compile_expression


@pytest.mark.parametrize(
    ("expression", "name"),
    [
        ('level == "WARN"', "WARN"),
        ('a.b!="two words" && n > `1`', "two words"),
        ('tags[?@ == "x"]', "x"),
        ('contains(message, "disk")', "disk"),
        ('n > `1` || starts_with(not_null(message, text), "a")', "a"),
        ("contains([\"WARN\", 'ERROR'], level)", "WARN"),
        ("join(\", \", tags) == 'a'", ", "),
    ],
)
def test_text_in_double_quotes_is_refused_with_how_to_write_it(expression: str, name: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(expression)

    assert str(caught.value) == (
        f"asks for a field named {name}, as double quotes do; write '{name}' for the text, "
        f'or @."{name}" if the field is meant'
    )


@pytest.mark.parametrize(
    "expression",
    [
        "\"log-level\" == 'WARN' && contains(\"log-level\", 'A')",
        "'WARN' == \"log-level\"",
        'level == @."log-level" && contains(\'WARN.\', @."log-level")',
        'level == "a b".level && "c d" == `["x"]` && level != "c d"[0]',
        '[{"log-level": level, "a b": level}] && contains(not_null("x y", "c d"), \'x\')',
        "join('-', \"c d\") == 'x'",
    ],
)
def test_names_of_fields_may_stand_in_double_quotes(expression: str) -> None:
    compiled = compile_expression(expression)

    assert compiled({"level": "WARN", "log-level": "WARN", "a b": {"level": "WARN"}, "c d": ["x"]})

"""JMESPath expressions of filters: compiled, once it is sure what they cost and what they ask for.

Clients may send them, so they are bounded in length and in how often they copy what they are given.
"""

from collections.abc import Callable
from math import prod
from typing import Any, Final

import jmespath
from jmespath.exceptions import (
    IncompleteExpressionError,
    JMESPathError,
    LexerError,
    ParseError,
)
from jmespath.lexer import Lexer

MAX_EXPRESSION = 1000
"""Longest JMESPath expression, in characters."""
MAX_COPIES = 64
"""Most times that an expression may hold the same data: ``[@,@]|[@,@]|...`` doubles it with every
step, and a few dozen of them would keep the event loop busy for hours with a single event."""


class ExpressionError(ValueError):
    """An expression that is not taken; ``str()`` says why."""


def compile_expression(text: Any) -> Callable[[Any], bool]:
    """Whether data makes JMESPath ``text`` true; what that cannot be asked of does not.

    Raises:
        ExpressionError: If it is none, would take too much, or asks for what nobody means.
    """
    if not isinstance(text, str) or not text.strip():
        raise ExpressionError("should be a JMESPath expression")
    if len(text) > MAX_EXPRESSION:
        raise ExpressionError(f"is longer than {MAX_EXPRESSION} characters")
    try:
        compiled = jmespath.compile(text)
        copies = _copies(compiled.parsed)
    except (JMESPathError, RecursionError) as error:
        raise ExpressionError(f"is no JMESPath expression: {_complaint(error)}") from error
    if copies > MAX_COPIES:
        raise ExpressionError(f"holds the same data more than {MAX_COPIES} times")
    if (name := _text_as_field(text)) is not None:
        raise ExpressionError(
            f"asks for a field named {name}, as double quotes do; write '{name}' for the text, "
            f'or @."{name}" if the field is meant'
        )

    def matches(data: Any) -> bool:
        try:
            return _truthy(compiled.search(data))
        except Exception:  # noqa: BLE001 -- functions raise many kinds on types they do not take
            return False

    return matches


def _complaint(error: JMESPathError | RecursionError) -> str:
    """What is wrong, in one line: the library draws the place below the expression."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, IncompleteExpressionError):
        return "it ends too early"
    if isinstance(error, LexerError):
        words, place = error.message, error.lexer_position
    elif isinstance(error, ParseError):
        token = f" {error.token_value}" if error.msg == "invalid token" else ""
        words, place = f"{error.msg}{token}", error.lex_position
    else:
        return " ".join(str(error).split())
    return f"{' '.join(words.split())}, at character {place + 1}"


_COMPARE: Final = frozenset({"eq", "ne", "lt", "lte", "gt", "gte"})
_PATH_GOES_ON: Final = frozenset({"dot", "lbracket", "flatten", "filter"})
_SEARCH: Final = frozenset({"contains", "starts_with", "ends_with"})


def _text_as_field(expression: str) -> str | None:
    """What stands in double quotes, which name a field, where nearly always text is meant.

    A field of that name is nowhere, so that the expression would select nothing, without a word.
    """
    tokens = list(Lexer().tokenize(f"@ | {expression}"))  # each has two before it
    around = ["", ""]  # functions and brackets, innermost last
    for two_before, before, token, after in zip(
        tokens, tokens[1:], tokens[2:], tokens[3:], strict=False
    ):
        kind, sides = token["type"], (before["type"], after["type"])
        if kind in {"lparen", "lbracket", "lbrace", "filter"}:
            around.append(before["value"] if kind == "lparen" else token["value"])
        elif kind in {"rparen", "rbracket", "rbrace"}:
            around.pop()
        elif kind == "quoted_identifier" and (
            (
                sides[0] in _COMPARE
                and sides[1] not in _PATH_GOES_ON
                and two_before["type"] != "literal"
            )
            or (around[-1] in _SEARCH and sides == ("comma", "rparen"))
            or (around[-1] == "join" and sides == ("lparen", "comma"))
            or (around[-1] == "[" and around[-2] in _SEARCH and sides[1] in {"comma", "rbracket"})
        ):
            return token["value"]
    return None


_CHAINED: Final = frozenset(
    {
        "subexpression",
        "index_expression",
        "pipe",
        "projection",
        "value_projection",
        "filter_projection",
    }
)
"""Nodes whose right side is applied to what the left side made."""


def _copies(node: Any) -> int:
    """How often the value of ``node``, a parsed JMESPath, may hold the data that it is given."""
    children: list[tuple[str, int]] = []
    for child in node["children"]:
        if isinstance(child, dict):  # a slice has numbers
            children.append((child["type"], _copies(child)))  # noqa: PERF401 -- a frame less
    counts = [count for _, count in children] or [1]
    kind = node["type"]
    if kind in _CHAINED:
        return prod(counts)
    if kind in {"multi_select_list", "multi_select_dict"}:
        return sum(counts)
    if kind == "function_expression":
        name = node["value"]
        if name == "join":
            return prod(counts)  # what is between stands there once for each
        applied = prod(count for type_, count in children if type_ == "expref")
        given = sum(count for type_, count in children if type_ != "expref")
        return applied * max(given, 1) * (2 if name == "to_string" else 1)  # quotes are escaped
    return max(counts)


def _truthy(value: Any) -> bool:
    """JMESPath's own truth: false, null and what is empty are false, 0 is true."""
    return not (
        value is None or value is False or (isinstance(value, str | list | dict) and not value)
    )

"""Which events are wanted: compiles a ``where`` of the configuration, a client or a command.

``{field, in: [...]}`` and its kind become closures (well under a microsecond an event), and
``{all: [...]}``, ``{any: [...]}``, ``{not: ...}`` combine them; ``{expression: ...}`` is JMESPath
(about ten microseconds).  A compiled filter is total: data that lacks the field, or has another
type in it, is simply not wanted.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import compress
from operator import ge, gt, itemgetter, le, lt
from typing import Any, Final, TypeAlias

from service.expressions import ExpressionError, compile_expression

Predicate: TypeAlias = Callable[[Any], bool]

MAX_TERMS = 200
"""Most terms of one filter; clients may send filters, so they are bounded."""
MAX_DEPTH = 16
"""Deepest nesting of ``all``, ``any`` and ``not``."""

_MISSING: Final = object()
_SCALARS = (str, int, float, bool, type(None))
_ORDERS: Mapping[str, Callable[[Any, Any], bool]] = {"gt": gt, "gte": ge, "lt": lt, "lte": le}
KINDS: Final = ("field", "expression", "all", "any", "not")
"""What makes a filter one; each has exactly one of them."""
OPERATORS = ("equals", "not_equals", "in", "not_in", "exists", "starts_with", *_ORDERS)
"""What a field's value can be tested by."""


class WhereError(ValueError):
    """A filter that cannot be compiled.

    Args:
        path: Where in the filter, dotted; empty for the whole.
        reason: What is wrong there.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason

    @property
    def keys(self) -> tuple[str | int, ...]:
        """The path as keys of maps and indexes of lists."""
        parts = re.findall(r"[^.\[\]]+", self.path)
        return tuple(int(part) if part.isdecimal() else part for part in parts)


class Where:
    """A compiled filter; call it with an event's data.

    Args:
        predicate: Whether data is wanted; never raises.
        field: Set with ``wanted`` for the one kind that has a fast path: ``{field, in}`` on a
            top-level field.
        wanted: The values.
        fields: The top-level fields that decide, if these are all; ``None`` if that is not known.

    Attributes:
        field: As given.
        wanted: As given.
        fields: As given.
    """

    __slots__ = ("_predicate", "_read", "field", "fields", "wanted")

    def __init__(
        self,
        predicate: Predicate,
        *,
        field: str | None = None,
        wanted: frozenset[str] | None = None,
        fields: frozenset[str] | None = None,
    ) -> None:
        self.fields = fields
        self._predicate = predicate
        self._read = None if field is None else itemgetter(field)
        self.field = field
        self.wanted = wanted

    def __call__(self, data: Any) -> bool:
        """Whether ``data`` is wanted."""
        return self._predicate(data)

    def select_many(self, datas: Sequence[Any]) -> list[int]:
        """Indexes of the wanted ones among ``datas``, ascending."""
        if self._read is not None and self.wanted is not None:
            try:
                hits = map(self.wanted.__contains__, map(self._read, datas))
                return list(compress(range(len(datas)), hits))
            except (KeyError, TypeError, IndexError):
                pass  # one lacks the field, holds a list in it, or is no mapping
        predicate = self._predicate
        return [index for index, data in enumerate(datas) if predicate(data)]


def compile_where(where: Mapping[str, Any] | None) -> Where:
    """The filter that ``where`` describes; ``None`` wants everything.

    Values are compared as JSON compares them: ``1`` equals ``1.0`` and neither equals ``true`` or
    ``"1"``.  ``field`` is a name, or a dotted path into nested objects.

    Raises:
        WhereError: If it describes none.
    """
    if where is None:
        return Where(lambda _data: True)
    compiler = _Compiler()
    predicate = compiler.compile(where, "", 0)
    fields = None if compiler.reads_all else frozenset(compiler.fields)
    field = where.get("field")
    wanted = where.get("in")
    if (
        set(where) == {"field", "in"}
        and isinstance(field, str)
        and "." not in field
        and isinstance(wanted, Sequence)
        and all(isinstance(value, str) for value in wanted)
    ):
        # of text only: True and 1 are one key of a set, but two values of JSON
        return Where(predicate, field=field, wanted=frozenset(wanted), fields=fields)
    return Where(predicate, fields=fields)


class _Compiler:
    """Compiles one filter, counts its terms and notes which fields they read.

    Attributes:
        fields: Top-level fields that were met.
        reads_all: Whether an expression was met, which may read any.
    """

    def __init__(self) -> None:
        self.fields: set[str] = set()
        self.reads_all = False
        self._terms = 0

    def compile(self, where: Any, path: str, depth: int) -> Predicate:
        if not isinstance(where, Mapping):
            raise WhereError(path, "should be a map")
        self._terms += 1
        if self._terms > MAX_TERMS:
            raise WhereError(path, f"has more than {MAX_TERMS} terms")
        if depth > MAX_DEPTH:
            raise WhereError(path, f"is nested deeper than {MAX_DEPTH}")
        kinds = [kind for kind in KINDS if kind in where]
        if len(kinds) != 1:
            raise WhereError(path, "needs exactly one of field, expression, all, any, not")
        kind = kinds[0]
        if kind == "field":
            predicate = _field(where, path)
            name: str = where["field"]
            self.fields |= {name, name.partition(".")[0]}
            return predicate
        if len(where) > 1:
            unknown = next(str(key) for key in where if key != kind)
            raise WhereError(_join(path, unknown), f"has no place beside {kind}")
        if kind == "expression":
            self.reads_all = True
            return _expression(where[kind], _join(path, kind))
        if kind == "not":
            inner = self.compile(where[kind], _join(path, kind), depth + 1)
            return lambda data: not inner(data)
        return self._combined(kind, where[kind], _join(path, kind), depth)

    def _combined(self, kind: str, terms: Any, path: str, depth: int) -> Predicate:
        if not isinstance(terms, Sequence) or isinstance(terms, str) or not terms:
            raise WhereError(path, "should be a list that is not empty")
        predicates = [
            self.compile(term, f"{path}[{index}]", depth + 1) for index, term in enumerate(terms)
        ]
        if kind == "all":
            return lambda data: all(predicate(data) for predicate in predicates)
        return lambda data: any(predicate(data) for predicate in predicates)


def _field(where: Mapping[str, Any], path: str) -> Predicate:
    name = where["field"]
    if not isinstance(name, str) or not name:
        raise WhereError(_join(path, "field"), "should be the name of a field")
    operators = [key for key in where if key != "field"]
    if not operators:
        raise WhereError(path, f"needs one of {', '.join(OPERATORS)}")
    read = _reader(name)
    tests = [_test(str(key), where[key], _join(path, str(key))) for key in operators]
    if len(tests) == 1:
        test = tests[0]
        return lambda data: test(read(data))
    return lambda data: (value := read(data), all(test(value) for test in tests))[1]


def _reader(name: str) -> Callable[[Any], Any]:
    """Reads a field; a dotted name is looked up whole first, then as a path."""
    if "." not in name:
        return lambda data: data.get(name, _MISSING) if isinstance(data, dict) else _MISSING
    parts = name.split(".")

    def read(data: Any) -> Any:
        if isinstance(data, dict) and name in data:
            return data[name]
        for part in parts:
            if not isinstance(data, dict):
                return _MISSING
            data = data.get(part, _MISSING)
        return data

    return read


def _test(operator: str, operand: Any, path: str) -> Predicate:
    """The predicate of one operator on a field's value, which may be ``_MISSING``."""
    if operator in {"equals", "not_equals"}:
        equals = _one_of([_scalar(operand, path)])
        return equals if operator == "equals" else lambda value: not equals(value)
    if operator in {"in", "not_in"}:
        if not isinstance(operand, Sequence) or isinstance(operand, str):
            raise WhereError(path, "should be a list")
        if len(operand) > MAX_TERMS:
            raise WhereError(path, f"has more than {MAX_TERMS} values")
        within = _one_of(
            [_scalar(value, f"{path}[{index}]") for index, value in enumerate(operand)]
        )
        return within if operator == "in" else lambda value: not within(value)
    if operator == "exists":
        if not isinstance(operand, bool):
            raise WhereError(path, "should be true or false")
        return lambda value: (value is not _MISSING) is operand
    if operator == "starts_with":
        if not isinstance(operand, str):
            raise WhereError(path, "should be a string")
        return lambda value: isinstance(value, str) and value.startswith(operand)
    if operator in _ORDERS:
        return _ordered(operator, operand, path)
    raise WhereError(path, f"is no operator; there are {', '.join(OPERATORS)}")


def _one_of(values: Sequence[Any]) -> Predicate:
    """Whether a value equals one of ``values`` in JSON's sense."""
    wanted = frozenset(_tagged(value) for value in values)
    if all(isinstance(value, str) for value in values):
        texts = frozenset(values)
        return lambda value: isinstance(value, str) and value in texts
    return lambda value: isinstance(value, _SCALARS) and _tagged(value) in wanted


def _tagged(value: Any) -> tuple[bool, Any]:
    """A hashable stand-in in which ``true`` is not ``1``."""
    return (isinstance(value, bool), value)


def _ordered(operator: str, operand: Any, path: str) -> Predicate:
    compare = _ORDERS[operator]
    if isinstance(operand, str):
        return lambda value: isinstance(value, str) and compare(value, operand)
    if isinstance(operand, bool) or not isinstance(operand, int | float):
        raise WhereError(path, "should be a number or a string")
    return lambda value: (
        isinstance(value, int | float) and not isinstance(value, bool) and compare(value, operand)
    )


def _scalar(value: Any, path: str) -> Any:
    if not isinstance(value, _SCALARS):
        raise WhereError(path, "should be text, a number, true, false or null")
    return value


def _expression(text: Any, path: str) -> Predicate:
    try:
        return compile_expression(text)
    except ExpressionError as error:
        raise WhereError(path, str(error)) from error


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key

"""Fields of an event by dotted path, for the handlers that are told their names by options."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

from pydantic import Field

from service.errors import SchemaError

Path = Annotated[str, Field(min_length=1, pattern=r"^[^.]+(\.[^.]+)*$")]
"""A dotted path into ``event.data``, such as ``order.customer.id``."""

Reader = Callable[[Any], Any]


def optional(path: str) -> Reader:
    """A function from data to the value at ``path``, or ``None`` where there is none."""
    names = tuple(path.split("."))
    if len(names) == 1:
        return lambda data: data.get(path) if isinstance(data, dict) else None

    def read(data: Any) -> Any:
        for name in names:
            if not isinstance(data, dict):
                return None
            data = data.get(name)
        return data

    return read


def text(path: str) -> Callable[[Any], str]:
    """A function from data to the text at ``path``; whole numbers count as text (ids).

    The function raises :class:`SchemaError` where there is neither.
    """
    read = optional(path)

    def required(data: Any) -> str:
        value = read(data)
        if isinstance(value, str):
            return value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise SchemaError(path, "missing" if value is None else "neither text nor a whole number")

    return required


def number(path: str) -> Callable[[Any], float]:
    """A function from data to the number at ``path``; it raises :class:`SchemaError`."""
    read = optional(path)

    def required(data: Any) -> float:
        value = read(data)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return value
        raise SchemaError(path, "missing" if value is None else "not a number")

    return required


def numbers(path: str) -> Callable[[Sequence[Any]], Sequence[float]]:
    """:func:`number` for many data at once; it raises for the first without one."""
    one = number(path)

    def required(many: Sequence[Any]) -> Sequence[float]:
        try:
            values = [data[path] for data in many]
        except (KeyError, TypeError):  # a path of several names, or a value that is not there
            values = []
        if values and _NUMBERS.issuperset(map(type, values)):
            return values
        return [one(data) for data in many]

    return required


def texts(path: str) -> Callable[[Sequence[Any]], Sequence[str]]:
    """:func:`text` for many data at once; it raises for the first without one."""
    one, read = text(path), optionals(path)

    def required(many: Sequence[Any]) -> Sequence[str]:
        values = read(many)
        return values if _TEXT.issuperset(map(type, values)) else [one(data) for data in many]

    return required


def optionals(path: str) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """:func:`optional` for many data at once."""
    one = optional(path)
    if "." in path:
        return lambda many: [one(data) for data in many]

    def read(many: Sequence[Any]) -> Sequence[Any]:
        if _MAPPINGS.issuperset(map(type, many)):
            return [data.get(path) for data in many]
        return [one(data) for data in many]

    return read


_MAPPINGS = frozenset((dict,))
_NUMBERS = frozenset((int, float))
_TEXT = frozenset((str,))

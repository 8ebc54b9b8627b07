"""Typed input: ``event.data`` checked against the type that a handler declares.

pydantic models and dataclasses are checked strictly by JSON's rules (``"1"`` is no number, an
ISO text is a date); msgspec structs by msgspec's, which are the same and three times as fast.
What does not fit becomes a :class:`~service.errors.SchemaError` with the path of the field and
never its content: error details end up in headers and logs.
"""

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import orjson

from service.errors import SchemaError
from service.events import Event

Converter = Callable[[Any], Any]

_MSGSPEC_PATH = re.compile(r" - at `(?:key in )?\$?\.?([^`]*)`$")
_QUOTED = re.compile(r"'[^']*'")


def is_data_type(annotation: Any) -> bool:
    """Whether ``annotation`` is a pydantic model, a msgspec struct or a dataclass, and no event."""
    if not isinstance(annotation, type) or issubclass(annotation, Event):
        return False
    return (
        hasattr(annotation, "model_validate")
        or hasattr(annotation, "__struct_fields__")
        or dataclasses.is_dataclass(annotation)
    )


def converter(input_type: Any) -> Converter:
    """A function from ``event.data`` to an instance of ``input_type``; it raises `SchemaError`."""
    if hasattr(input_type, "__struct_fields__"):
        return _msgspec_converter(input_type)
    return _pydantic_converter(input_type)


def _pydantic_converter(input_type: Any) -> Converter:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 -- 100 ms, only if wanted

    validate = TypeAdapter(input_type).validate_json

    def convert(data: Any) -> Any:
        # Through JSON, because strict mode means JSON's types there: text is a date, a list is a
        # tuple, but "1" is no number.
        raw = data if isinstance(data, bytes) else orjson.dumps(data)
        try:
            return validate(raw, strict=True)
        except ValidationError as error:
            problems = error.errors(include_input=False, include_context=False, include_url=False)
            first = problems[0]
            path = ".".join(str(part) for part in first["loc"])
            raise SchemaError(path, _first_of(first["msg"], len(problems))) from None

    return convert


def _msgspec_converter(input_type: Any) -> Converter:
    import msgspec  # noqa: PLC0415 -- an extra, present if the handler declares a struct

    def convert(data: Any) -> Any:
        try:
            if isinstance(data, bytes):
                return msgspec.json.decode(data, type=input_type)
            return msgspec.convert(data, type=input_type)
        except msgspec.ValidationError as error:
            text = str(error)
            found = _MSGSPEC_PATH.search(text)
            path = "" if found is None else found[1].replace("[", ".").replace("]", "").strip(".")
            reason = _QUOTED.sub("(value)", text if found is None else text[: found.start()])
            raise SchemaError(path, reason) from None
        except msgspec.DecodeError:
            raise SchemaError("", "not valid JSON") from None

    return convert


def _first_of(message: str, count: int) -> str:
    return message if count == 1 else f"{message} (and {count - 1} more)"

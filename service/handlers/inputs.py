"""Typed input: ``event.data`` checked against the type that a handler declares.

pydantic models and dataclasses are checked strictly by JSON's rules (``"1"`` is no number, an
ISO text is a date); msgspec structs by msgspec's, which are the same and three times as fast.
What does not fit becomes a :class:`~service.errors.SchemaError` with the path of the field and
never its content: error details end up in headers and logs.
"""

import dataclasses
import re
import types
from collections.abc import Callable, Mapping, MutableMapping
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin, is_typeddict

import orjson

from service.errors import ConfigurationError, SchemaError
from service.events import Event

_Checker: TypeAlias = Literal["pydantic", "msgspec"]

Converter = Callable[[Any], Any]

_OBJECTS = frozenset({dict, Mapping, MutableMapping})
_ANYTHING: tuple[tuple[Any, ...], ...] = ((), (str, Any), (str, object))

_MSGSPEC_PATH = re.compile(r" - at `(?:key in )?\$?\.?([^`]*)`$")
_QUOTED = re.compile(r"'[^']*'")


def is_data_type(annotation: Any) -> bool:
    """Whether ``annotation`` is a type of data that is checked.

    That is a pydantic model, a dataclass, a msgspec struct, a ``TypedDict`` or a ``dict``, or a
    union of some of the former two or of the latter three, with or without ``None`` (a tombstone).
    """
    return _checker(annotation) is not None


def is_union(annotation: Any) -> bool:
    """Whether ``annotation`` is ``A | B``, however it is written."""
    return get_origin(annotation) in {Union, types.UnionType}


def converter(input_type: Any) -> Converter:
    """A function from ``event.data`` to an instance of ``input_type``; it raises `SchemaError`.

    Raises:
        ConfigurationError: If nothing can be checked against the type.
    """
    make = _msgspec_converter if _checker(input_type) == "msgspec" else _pydantic_converter
    try:
        return make(input_type)
    except Exception as error:
        # what the libraries say of a type that they do not take has several lines
        reason = str(error).strip().partition("\n")[0]
        shown = input_type.__name__ if isinstance(input_type, type) else str(input_type)
        raise ConfigurationError([f"{shown} is no type of input: {reason}"]) from error


def _checker(annotation: Any) -> _Checker | None:
    if get_origin(annotation) is Annotated:
        return _checker(get_args(annotation)[0])
    if is_union(annotation):
        checkers: set[_Checker | None] = {
            _checker(each) for each in get_args(annotation) if each is not type(None)
        }
        return checkers.pop() if len(checkers) == 1 else None
    owner = get_origin(annotation) or annotation  # of a generic one: what has been filled in
    if not isinstance(owner, type) or issubclass(owner, Event):
        return None
    if hasattr(owner, "__struct_fields__") or is_typeddict(owner) or owner in _OBJECTS:
        return "msgspec"
    checked = hasattr(owner, "model_validate") or dataclasses.is_dataclass(owner)
    return "pydantic" if checked else None


def _pydantic_converter(input_type: Any) -> Converter:
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 -- 100 ms, only if wanted

    adapter = TypeAdapter(input_type)
    adapter.rebuild(raise_errors=True)  # or what it cannot resolve would be found event by event
    validate = adapter.validate_json

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

    decode = msgspec.json.Decoder(input_type).decode
    # of a dict nothing is to be checked but that it is one
    plain = (get_origin(input_type) or input_type) in _OBJECTS
    plain = plain and get_args(input_type) in _ANYTHING

    def convert(data: Any) -> Any:
        if plain and type(data) is dict:
            return data
        try:
            if isinstance(data, bytes):
                return decode(data)
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

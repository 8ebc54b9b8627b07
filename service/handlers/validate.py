"""Events checked against a JSON Schema: what fits goes on unchanged, the rest is dead-lettered."""

from collections.abc import Collection, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import unquote

import orjson
from jsonschema import exceptions, validators
from pydantic import BaseModel, ConfigDict, Field, FilePath, model_validator

from service.errors import SchemaError
from service.events import Event
from service.handlers.spec import handler

_DATA: Final = frozenset({"const", "enum", "default", "examples"})
"""Keywords that hold data, which may look like a schema."""
_MULTIPLES: Final = ("multipleOf", "divisibleBy")
"""What the keyword is called, and was in draft 3."""
_NAMING: Final = ("$id", "id", "$anchor", "$dynamicAnchor")
"""Keywords by which a schema names parts of itself: identifiers and anchors."""


class ValidateOptions(BaseModel):
    """Options of ``validate``; one of ``schema`` and ``schema_file``."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    inline: dict[str, Any] | None = Field(
        default=None, alias="schema", description="The JSON Schema itself."
    )
    schema_file: FilePath | None = Field(default=None, description="A file that holds it.")
    formats: bool = Field(default=False, description="Also check `format`, such as `date-time`.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if (self.inline is None) == (self.schema_file is None):
            raise ValueError("give either schema or schema_file")
        schema = self.schema_document()
        named = schema.get("$schema") if isinstance(schema, dict) else None
        if named is not None and not _is_dialect(named):
            raise ValueError("$schema: names no dialect that is known")
        try:
            validators.validator_for(schema, validators.Draft202012Validator).check_schema(schema)
        except exceptions.SchemaError as error:
            raise ValueError(f"not a JSON Schema: {error.message}") from None
        for reference in _texts(schema, ("$ref",)):
            if not _resolves(reference, schema):
                raise ValueError(
                    f"$ref {reference}: not in this schema, and nothing is fetched from elsewhere"
                )
        return self

    def schema_document(self) -> Any:
        """The schema, read from its file if it is in one."""
        if self.schema_file is None:
            return self.inline
        try:
            return orjson.loads(Path(self.schema_file).read_bytes())
        except orjson.JSONDecodeError as error:
            raise ValueError(f"schema_file: not JSON: {error}") from None


@handler("validate", options=ValidateOptions)
class Validate:
    """Passes on what fits the schema; the dialect is the one that the schema's ``$schema`` names.

    Without ``$schema`` it is 2020-12.
    """

    def __init__(self, options: ValidateOptions) -> None:
        schema = options.schema_document()
        dialect = validators.validator_for(schema, validators.Draft202012Validator)
        checker = dialect.FORMAT_CHECKER if options.formats else None
        exact = {name: _multiple_of for name in _MULTIPLES if name in dialect.VALIDATORS}
        extend: Any = validators.extend  # the library does not say its types here
        self._validator = extend(dialect, exact)(schema, format_checker=checker)

    def __call__(self, event: Event) -> Any:
        """The data, unchanged.

        Raises:
            SchemaError: If it does not fit; with the path of the worst problem.
        """
        error = exceptions.best_match(self._validator.iter_errors(event.data))
        if error is None:
            return event.data
        path = ".".join(str(part) for part in error.absolute_path)
        raise SchemaError(path, _reason(error))


def _parts(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every one inside of it; not what its data looks like."""
    if isinstance(schema, list):
        for each in schema:
            yield from _parts(each)
    elif isinstance(schema, dict):
        yield schema
        for keyword, each in schema.items():
            if keyword not in _DATA:
                yield from _parts(each)


def _texts(schema: Any, keywords: Collection[str]) -> Iterator[str]:
    """What the schema says by these keywords, wherever in it."""
    for part in _parts(schema):
        yield from (part[each] for each in keywords if isinstance(part.get(each), str))


def _resolves(reference: str, schema: Any) -> bool:
    """Whether ``reference`` is found without asking anybody, as far as a look can tell."""
    place, _, fragment = reference.partition("#")
    names = {name.strip("#") for name in _texts(schema, _NAMING)}
    if place:  # may be relative to what the schema around it is called
        return _is_dialect(place) or any(name.endswith(place) for name in names)
    if not fragment.startswith("/"):
        return not fragment or fragment in names
    if len(names) > 1:
        return True  # may begin at a part that has a name of its own
    found = schema
    for part in unquote(fragment[1:]).split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        elif isinstance(found, dict) and name in found:
            found = found[name]
        else:
            return False
    return True


def _is_dialect(name: str) -> bool:
    unknown: Any = None
    found: Any = validators.validator_for({"$schema": name}, unknown)
    return found is not None


def _multiple_of(
    validator: Any, divisor: float, instance: Any, schema: Any
) -> Iterator[exceptions.ValidationError]:
    """``multipleOf`` of the decimals that JSON has: of doubles 19.99 is no multiple of 0.01."""
    del schema
    if validator.is_type(instance, "number") and Fraction(str(instance)) % Fraction(str(divisor)):
        yield exceptions.ValidationError("not a multiple")


def _reason(error: exceptions.ValidationError) -> str:
    """What is wrong in the schema's words; the library's own message quotes the event."""
    required: Any = error.validator_value
    if error.validator == "required" and isinstance(required, list):  # for draft 3 it is true
        present: Any = error.instance
        missing = [name for name in required if name not in present]
        return f"required: {', '.join(missing)} missing"
    if type(error.validator_value) in {str, int, float}:
        return f"{error.validator}: {error.validator_value}"
    return f"does not fit {error.validator}"

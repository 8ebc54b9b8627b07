"""What is wrong with a configuration, one line each: ``path: what (from where)``.

Turns the model's validation errors into the words of somebody who writes YAML: the path as it
stands in the file, a near miss suggested, a refused client option with its reason.  Values are
never repeated, since any of them may be a secret.
"""

import difflib
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from service.settings.base import NAME_PATTERN, TOPIC_PATTERN, Section
from service.settings.model import ENV_PREFIX
from service.settings.pipelines import NORMALIZER_PATTERN
from service.settings.sources import INGEST_PATTERN, SOURCE_TYPES

_PATTERN_WORDS: Mapping[str, str] = {
    NAME_PATTERN: "should start with a letter and hold letters, digits, - and _ only",
    TOPIC_PATTERN: "is no topic name: letters, digits, ., _ and - only, at most 249",
    INGEST_PATTERN: "should be /ingest/ and one more path segment",
    NORMALIZER_PATTERN: 'should be json, log, cloudevents, raw, or "package.module:callable"',
}

MISSING = "is required"
"""What is said of a key that has to be there and is not."""

_KINDS_OF_SOURCE = ", ".join(SOURCE_TYPES)
_KIND_WORDS: Mapping[str, str] = {
    "missing": MISSING,
    "too_short": "should not be empty",
    "string_too_short": "should not be empty",
    "union_tag_invalid": f"should be one of {_KINDS_OF_SOURCE}",
    "union_tag_not_found": f"needs a type, or one of these as its name: {_KINDS_OF_SOURCE}",
    "model_type": "should be a map",
    "model_attributes_type": "should be a map",
    "dict_type": "should be a map",
    "tuple_type": "should be a list",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change.

    Attributes:
        path: Keys from the top; list indexes as numbers.
        message: What is wrong there, without the value.
    """

    path: tuple[str | int, ...]
    message: str

    def line(self, origin: str | None = None) -> str:
        """The problem as it is shown; ``origin`` names the file or variable of the value."""
        where = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in self.path)
        source = f" (from {origin})" if origin else ""
        return f"{where.removeprefix('.')}: {self.message}{source}"


def model_problems(error: ValidationError, model: type[BaseModel]) -> list[Problem]:
    """Each validation error of ``model`` as a :class:`Problem`, in the order of the model."""
    errors = error.errors(include_url=False, include_context=True, include_input=False)
    problems = [_problem(details, model) for details in errors]
    # a list whose only element is wrong is also reported as too short; the element says more
    spoilt_lists = {problem.path[:-1] for problem in problems if isinstance(problem.path[-1], int)}
    return [
        problem
        for problem, details in zip(problems, errors, strict=True)
        if not (details["type"] == "too_short" and problem.path in spoilt_lists)
    ]


def _problem(details: ErrorDetails, model: type[BaseModel]) -> Problem:
    path = file_path(details["loc"])
    kind = details["type"]
    if kind == "union_tag_invalid":
        path = (*path, "type")
    return Problem(path, _words(kind, path, details, model))


def _words(
    kind: str, path: tuple[str | int, ...], details: ErrorDetails, model: type[BaseModel]
) -> str:
    if kind == "extra_forbidden":
        return _unknown_key(path, model)
    if kind == "string_pattern_mismatch":
        pattern = details.get("ctx", {}).get("pattern", "")
        return _PATTERN_WORDS.get(pattern, f"should match {pattern}")
    if kind in _KIND_WORDS:
        return _KIND_WORDS[kind]
    message = details["msg"]
    for prefix in ("Value error, ", "Input ", "String ", "Value "):
        message = message.removeprefix(prefix)
    return message


def file_path(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """A validation error's location as the path in the file.

    The library puts the tag of a union (``sources.kafka.kafka.topics``) and ``[key]`` into it.
    """
    path: list[str | int] = []
    for index, key in enumerate(loc):
        is_tag = index >= 2 and loc[index - 2] == "sources" and key in SOURCE_TYPES  # noqa: PLR2004 -- sources, name, tag
        if not is_tag and key != "[key]":
            path.append(key)
    return tuple(path)


def _unknown_key(path: Sequence[str | int], model: type[BaseModel]) -> str:
    section = model_at(model, path[:-1])
    name = str(path[-1])
    if section is None:
        return "is no known key"
    refused = section.refused if issubclass(section, Section) else {}
    if name in refused:
        return refused[name]
    levels = _levels(name, section)
    if levels:
        meant = [*map(str, path[:-1]), *levels]
        variable = ENV_PREFIX + "__".join(meant).upper()
        return f"is no known key; did you mean {'.'.join(meant)}, in a variable {variable}?"
    near = difflib.get_close_matches(name, section.model_fields, n=1)
    return "is no known key" + (f"; did you mean {near[0]}?" if near else "")


def _levels(name: str, section: type[BaseModel]) -> tuple[str, ...]:
    """The keys, level by level, that ``name`` is with one underscore between them; else none."""
    for key in section.model_fields:
        below = model_at(section, [key]) if name.startswith(f"{key}_") else None
        if below is None:
            continue
        rest = name.removeprefix(f"{key}_")
        levels = (rest,) if rest in below.model_fields else _levels(rest, below)
        if levels:
            return (key, *levels)
    return ()


def model_at(model: type[BaseModel], path: Sequence[str | int]) -> type[BaseModel] | None:
    """The model of the section at ``path``, or ``None`` where there is none."""
    here: Any = model
    for depth, key in enumerate(path):
        if isinstance(here, type) and issubclass(here, BaseModel):
            field = here.model_fields.get(str(key))
            here = None if field is None else field.annotation
        else:
            here = _element(here, key)
        if here is None:
            return None
        if depth and path[depth - 1] == "sources":
            here = SOURCE_TYPES.get(str(key), here)
        kinds = alternatives(here)
        here = kinds[0] if len(kinds) == 1 else here
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None


def _element(annotation: Any, key: str | int) -> Any:
    """The type of one element of a ``dict`` or ``tuple`` annotation."""
    arguments = get_args(annotation)
    if get_origin(annotation) in {dict, Mapping}:
        return arguments[1]
    if get_origin(annotation) is tuple and isinstance(key, int):
        return arguments[0]
    return None


def alternatives(annotation: Any) -> list[Any]:
    """The types that ``annotation`` allows beside ``None``, each without ``Annotated``."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        some = (argument for argument in get_args(annotation) if argument is not type(None))
        return [kind for argument in some for kind in alternatives(argument)]
    return [annotation]

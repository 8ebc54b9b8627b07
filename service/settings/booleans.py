"""Finds booleans where numbers belong.

YAML reads ``yes`` and ``on`` as true, and the library would take that for 1.
"""

import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from service.settings.layers import leaves
from service.settings.problems import Problem, model_at


def boolean_problems(data: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """A problem for each boolean in ``data`` where ``model`` wants a number."""
    return [
        Problem(path, f"should be a number, not {str(value).lower()}")
        for path, value in leaves(data)
        if isinstance(value, bool)
        and (section := model_at(model, path[:-1])) is not None
        and (field := section.model_fields.get(str(path[-1]))) is not None
        and _is_number(field.annotation)
    ]


def _is_number(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated:
        return _is_number(get_args(annotation)[0])
    if get_origin(annotation) in {Union, types.UnionType}:
        return any(map(_is_number, get_args(annotation)))
    return annotation in {int, float}

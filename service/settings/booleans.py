"""Finds booleans where numbers belong.

YAML reads ``yes`` and ``on`` as true, and the library would take that for 1.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from service.settings.layers import leaves
from service.settings.problems import Problem, alternatives, model_at


def boolean_problems(data: Mapping[str, Any], model: type[BaseModel]) -> list[Problem]:
    """A problem for each boolean in ``data`` where ``model`` wants a number."""
    return [
        Problem(path, f"should be a number, not {str(value).lower()}")
        for path, value in leaves(data)
        if isinstance(value, bool)
        and (section := model_at(model, path[:-1])) is not None
        and (field := section.model_fields.get(str(path[-1]))) is not None
        and any(kind in {int, float} for kind in alternatives(field.annotation))
    ]

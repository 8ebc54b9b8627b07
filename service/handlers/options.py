"""A handler's options, checked when the service starts, every problem with its path."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints, is_typeddict

from service.errors import ConfigurationError
from service.handlers.inputs import is_union


def validate_options(model: Any, options: Mapping[str, Any], path: str) -> Any:
    """An instance of ``model`` made of ``options``.

    Args:
        model: A pydantic model or a dataclass; ``None`` for a handler without options.
        options: As configured.
        path: Where they stand in the configuration, for the problems.

    Raises:
        ConfigurationError: If an option is unknown, missing or wrong; it lists all of them.
    """
    if model is None:
        if options:
            names = ", ".join(sorted(options))
            raise ConfigurationError([f"{path}: this handler takes no options, got: {names}"])
        return None
    # 100 ms, only if wanted
    from pydantic import PydanticUserError, TypeAdapter, ValidationError  # noqa: PLC0415

    problems = _unknown(model, options, path)
    try:
        validated = TypeAdapter(model).validate_python(dict(options))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join([path, *(str(part) for part in problem["loc"])])
            problems.append(f"{where}: {_in_words(problem)}")
        raise ConfigurationError(problems) from None
    except (PydanticUserError, NameError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            [f"{path}: its model should be one of pydantic or a dataclass: {reason}"]
        ) from error
    if problems:
        raise ConfigurationError(problems)
    return validated


def _in_words(problem: Any) -> str:
    """What is wrong, without the value, which may be a secret; a path is none."""
    if problem["type"] == "path_not_file":
        file = Path(problem["input"])
        seen = "" if file.is_absolute() else f", seen from {Path.cwd()}"
        return f"there is no file {file}{seen}"
    message: str = problem["msg"]
    return message.removeprefix("Value error, ")


def _unknown(model: Any, options: Any, path: str) -> list[str]:
    """Options that ``model``, or one in it, would ignore; a typo must not be one of them."""
    if isinstance(options, list | tuple):
        element = (*get_args(model), None)[0] if get_origin(model) in {list, tuple} else None
        return [
            problem
            for index, each in enumerate(options)
            for problem in _unknown(_model_of(element), each, f"{path}.{index}")
        ]
    known = _names(model) if isinstance(options, Mapping) else None
    if known is None:
        return []
    problems = [
        f"{path}.{name}: unknown option; known: {', '.join(sorted(known))}"
        for name in sorted(set(options) - set(known))
        if _ignores(model)
    ]
    for name in options:
        if name in known:
            problems += _unknown(_model_of(known[name]), options[name], f"{path}.{name}")
    return problems


def _names(model: Any) -> dict[str, Any] | None:
    """What each option of ``model`` may be called, with its type; ``None`` if nobody can tell."""
    fields: Mapping[str, Any] | None = getattr(model, "model_fields", None)
    if fields is None:
        if not (dataclasses.is_dataclass(model) or is_typeddict(model)):
            return None
        try:
            return get_type_hints(model)
        except NameError:  # imported for the type checker only
            return None
    names: dict[str, Any] = {}
    for name, field in fields.items():
        for each in (name, field.alias, field.validation_alias):
            if each is None:
                continue
            if not isinstance(each, str):  # a choice of names, or a path
                return None
            names[each] = field.annotation
    return names


def _ignores(model: Any) -> bool:
    """Whether nothing says what becomes of an unknown option, so that it would be ignored."""
    config = getattr(model, "model_config", None) or getattr(model, "__pydantic_config__", None)
    return (config or {}).get("extra") is None


def _model_of(annotation: Any) -> Any:
    """``annotation`` without ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return _model_of(get_args(annotation)[0])
    if is_union(annotation):
        some = [each for each in get_args(annotation) if each is not type(None)]
        return _model_of(some[0]) if len(some) == 1 else None
    return annotation

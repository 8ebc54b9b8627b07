"""A handler's options, checked when the service starts, every problem with its path."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import ConfigurationError


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
    from pydantic import TypeAdapter, ValidationError  # noqa: PLC0415 -- 100 ms, only if wanted

    problems = _unknown(model, options, path)
    try:
        validated = TypeAdapter(model).validate_python(dict(options))
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join([path, *(str(part) for part in problem["loc"])])
            problems.append(f"{where}: {_in_words(problem)}")
        raise ConfigurationError(problems) from None
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


def _unknown(model: Any, options: Mapping[str, Any], path: str) -> list[str]:
    """Options that a model would ignore without a word; a typo must not be one of them."""
    fields = getattr(model, "model_fields", None)
    if fields is None or model.model_config.get("extra") is not None:
        return []
    known = set(fields) | {field.alias for field in fields.values() if field.alias}
    return [
        f"{path}.{name}: unknown option; known: {', '.join(sorted(known))}"
        for name in sorted(set(options) - known)
    ]

"""Loads the configuration: layers, then the model, then the rules between sections."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from service.errors import ConfigurationError
from service.settings.booleans import boolean_problems
from service.settings.layers import Layers, LocPath
from service.settings.model import DEFAULT_PIPELINES, ENV_PREFIX, Settings
from service.settings.problems import MISSING, Problem, file_path, model_problems
from service.settings.rules import rule_problems

_ROUNDS = 5
"""Most tries to get a whole model by leaving wrong values out; each goes a level up at most."""


@dataclass(frozen=True, slots=True)
class LoadedSettings:
    """Settings, and where each value came from.

    Attributes:
        settings: The configuration.
        origins: Per path, the file or variable that set it; what is not listed is a default.
    """

    settings: Settings
    origins: Mapping[LocPath, str]


def load_settings(files: Sequence[Path], environ: Mapping[str, str]) -> Settings:
    """The configuration of ``files``, later ones over earlier ones, under ``HEADRACE_*``.

    Maps are merged key by key; anything else is replaced.  With no pipeline configured, the
    log-alert pipeline runs.

    Raises:
        ConfigurationError: With every problem, one line each.
    """
    return load(files, environ).settings


def load(files: Sequence[Path], environ: Mapping[str, str]) -> LoadedSettings:
    """As :func:`load_settings`, with the source of each value.

    Raises:
        ConfigurationError: With every problem, one line each.
    """
    layers = Layers()
    # once each: of a pipe, as the shell makes of <(...), nothing would be left the second time
    read = [(layers.read(file), file) for file in files]
    given = any("pipelines" in values for values, _ in read)
    if not given and not _names_other_pipelines(environ):
        layers.add(DEFAULT_PIPELINES, "default pipeline")
    for values, file in read:
        layers.add_values(values, file)
    layers.add_environment(environ, ENV_PREFIX)
    return LoadedSettings(_settings_of(layers), layers.origins)


def build_settings(data: Mapping[str, Any]) -> Settings:
    """Settings of a nested map, under the same rules as files; for tests and embedding.

    Raises:
        ConfigurationError: With every problem, one line each.
    """
    layers = Layers()
    if "pipelines" not in data:
        layers.add(DEFAULT_PIPELINES, "default pipeline")
    layers.add(data, "")
    return _settings_of(layers)


def _settings_of(layers: Layers) -> Settings:
    settings, problems = _validated(layers.data)
    problems = [*layers.problems, *problems]
    if settings is None or problems:
        raise ConfigurationError(_lines(problems, layers))
    return settings


def _names_other_pipelines(environ: Mapping[str, str]) -> bool:
    """Whether variables configure a pipeline that is not the default one."""
    prefix = f"{ENV_PREFIX}PIPELINES"
    ours = f"{prefix}__LOGS__"
    return any(name.startswith(prefix) and not name.startswith(ours) for name in environ)


def _lines(problems: Sequence[Problem], layers: Layers) -> list[str]:
    lines = [
        problem.line(None if "(from " in problem.message else layers.origin(problem.path))
        + _misspelt_section(problem, layers)
        for problem in problems
    ]
    return list(dict.fromkeys(lines))


def _misspelt_section(problem: Problem, layers: Layers) -> str:
    """Which variable has made the section that lacks a key, if it is only there by that one.

    A name of one's own that is misspelt in a variable is a new section to us.
    """
    section = problem.path[:-1]
    origin = layers.origin(section) if problem.message == MISSING else None
    if origin is None or not origin.startswith(ENV_PREFIX):
        return ""
    return f"; all that sets {'.'.join(map(str, section))} is {origin}"


def _validated(data: dict[str, Any]) -> tuple[Settings | None, list[Problem]]:
    """Settings, or every problem that can be told: those of single values, and of rules.

    Rules need a whole model.  So values that are wrong by themselves are left out and the rest
    is tried again, and what then breaks a rule is told too.
    """
    booleans = boolean_problems(data, Settings)
    problems: list[Problem] = []
    rest = deepcopy(data)
    for problem in booleans:
        _remove(rest, problem.path)
    for _ in range(_ROUNDS):
        try:
            settings = Settings(**rest)
        except ValidationError as error:
            if not problems:
                problems = model_problems(error, Settings)
            for details in error.errors(include_url=False, include_input=False):
                path = file_path(details["loc"])
                _remove(rest, path[:-1] if details["type"] == "missing" else path)
            continue
        problems = [*booleans, *problems]
        spoilt = [problem.path for problem in problems]
        broken = [
            problem
            for problem in rule_problems(settings)
            if not any(_within(problem.path, path) for path in spoilt)
        ]
        return (None if problems else settings), [*problems, *broken]
    return None, [*booleans, *problems]


def _within(path: LocPath, other: LocPath) -> bool:
    """Whether one of the two paths leads to the other."""
    length = min(len(path), len(other))
    return path[:length] == other[:length]


def _remove(data: Any, path: LocPath) -> None:
    """Take the value at ``path`` out; of a list, the whole list."""
    here = data
    for index, key in enumerate(path):
        if not isinstance(here, dict) or key not in here:
            return
        below = here[str(key)]
        if index == len(path) - 1 or not isinstance(below, dict):
            del here[str(key)]
            return
        here = below

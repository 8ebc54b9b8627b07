"""``headrace check``: is the configuration right, and what does it come to?"""

import argparse
import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from service.cli.components import component_problems
from service.cli.exit_codes import CONFIGURATION, OK
from service.errors import ConfigurationError
from service.settings import LoadedSettings, load

_DEFAULT = "default"
_COLUMN = 60


def main(arguments: argparse.Namespace) -> int:
    """Print the resolved configuration, or every problem on standard error."""
    try:
        loaded = load(arguments.config, os.environ)
        problems = component_problems(loaded.settings)
    except ConfigurationError as error:
        problems = error.problems
        return _refuse(problems)
    if problems:
        return _refuse(problems)
    for line in resolved_lines(loaded):
        print(line)
    if arguments.connect:
        from service.cli.preflight import preflight_problems  # noqa: PLC0415 -- a Kafka client

        problems = asyncio.run(preflight_problems(loaded.settings))
        if problems:
            return _refuse(problems)
        print("# brokers, topics, access and sizes: ok")
    return OK


def _refuse(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr)
    count = len(problems)
    print(f"{count} problem{'s' if count > 1 else ''}", file=sys.stderr)
    return CONFIGURATION


def resolved_lines(loaded: LoadedSettings) -> Iterator[str]:
    """The configuration as YAML, secrets masked, with the source of each value as a comment."""
    yield from _lines(loaded.settings.model_dump(mode="json"), loaded.origins, ())


def _lines(
    section: Mapping[str, Any], origins: Mapping[tuple[str | int, ...], str], path: tuple[str, ...]
) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in section.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value:
            yield f"{indent}{key}:"
            yield from _lines(value, origins, here)
        else:
            text = f"{indent}{key}: {orjson.dumps(value).decode()}"
            yield f"{text:<{_COLUMN}}  # {_origin(origins, here)}"


def _origin(origins: Mapping[tuple[str | int, ...], str], path: tuple[str, ...]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return _DEFAULT

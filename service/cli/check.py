"""``headrace check``: is the configuration right, and what does it come to?"""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from service.cli.components import component_problems
from service.cli.exit_codes import CONFIGURATION, OK
from service.cli.explain import describe_source, targets_of
from service.cli.loops import loops
from service.cli.masking import shown
from service.cli.unaddressed import unaddressed_results
from service.errors import ConfigurationError
from service.settings import LoadedSettings, Settings, load

_DEFAULT = "default"
_COLUMN = 60
_WORD = re.compile(r"[A-Za-z_][\w.-]*", re.ASCII)
_NO_TEXT = frozenset({"yes", "no", "on", "off", "true", "false", "null", "y", "n"})

Origins = Mapping[tuple[str | int, ...], str]


def main(arguments: argparse.Namespace) -> int:
    """Print the resolved configuration, or every problem on standard error."""
    try:
        loaded = load(arguments.config, os.environ)
        problems = component_problems(loaded.settings)
    except ConfigurationError as error:
        return _refuse(error.problems)
    if problems:
        return _refuse(problems)
    for line in brief_lines(loaded) if arguments.brief else whole_lines(loaded):
        print(line)
    for warning in [*unaddressed_results(loaded.settings), *loops(loaded.settings)]:
        print(f"warning: {warning}", file=sys.stderr)
    if arguments.connect:
        return asyncio.run(_connect(loaded.settings))
    return OK


async def _connect(settings: Settings) -> int:
    from service.cli.preflight import preflight  # noqa: PLC0415 -- a Kafka client

    found = await preflight(settings)
    for topic, partitions in found.partitions.items():
        if partitions is not None:
            several = "" if partitions == 1 else "s"
            print(f"# topic {topic}: {partitions} partition{several}")
    if found.problems:
        return _refuse(found.problems)
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
    yield from _lines(shown(loaded.settings), loaded.origins)


def whole_lines(loaded: LoadedSettings) -> Iterator[str]:
    """:func:`resolved_lines`, and below them, where a terminal ends, what a person looks for."""
    yield from resolved_lines(loaded)
    yield from _summary(loaded.settings)


def brief_lines(loaded: LoadedSettings) -> Iterator[str]:
    """Of :func:`whole_lines` what has been set; the defaults are only counted."""
    defaults = sum(line.endswith(f"  # {_DEFAULT}") for line in resolved_lines(loaded))
    yield from _lines(shown(loaded.settings), loaded.origins, set_only=True)
    yield f"# {defaults} more values are defaults"
    yield from _summary(loaded.settings)


def _summary(settings: Settings) -> Iterator[str]:
    """Each pipeline from its sources to its topics, in comments."""
    for name, pipeline in settings.pipelines.items():
        yield f"# pipeline {name} ({pipeline.delivery.replace('_', ' ')}, {pipeline.normalizer})"
        for source_name, source in pipeline.sources.items():
            yield f"#   source {source_name}: {describe_source(source)}"
        for handler_name, handler in pipeline.handlers.items():
            targets = targets_of(settings, name, handler_name)
            yield f"#   handler {handler_name}: {handler.use} -> {targets}"
        yield f"#   dead letters -> {pipeline.dead_letter}"


def _lines(
    section: Mapping[str, Any],
    origins: Origins,
    path: tuple[str, ...] = (),
    *,
    set_only: bool = False,
) -> Iterator[str]:
    indent = "  " * len(path)
    for key, value in section.items():
        here = (*path, key)
        if isinstance(value, Mapping) and value:
            below = list(_lines(value, origins, here, set_only=set_only))
            if below:
                yield f"{indent}{_yaml_key(key)}:"
                yield from below
            continue
        origin = _origin(origins, here)
        if not set_only or origin != _DEFAULT:
            text = f"{indent}{_yaml_key(key)}: {_json(value)}"
            yield f"{text:<{_COLUMN}}  # {origin}"


def _yaml_key(key: str) -> str:
    """A key as YAML reads it back: quoted where it would be something else than text."""
    return key if _WORD.fullmatch(key) and key.lower() not in _NO_TEXT else _json(key)


def _json(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # a whole number beyond 64 bits, among free options
        return str(value)


def _origin(origins: Origins, path: tuple[str, ...]) -> str:
    for length in range(len(path), 0, -1):
        if path[:length] in origins:
            return origins[path[:length]]
    return _DEFAULT

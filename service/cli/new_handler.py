"""``headrace new-handler``: a handler and its test, ready to run and to be changed."""

import argparse
import keyword
import sys
from importlib.util import find_spec
from pathlib import Path

from service.cli.exit_codes import OK
from service.cli.usage import UsageError
from service.errors import ConfigurationError
from service.handlers.registry import SHIPPED

_HANDLER = '''\
"""{name}: say here what it makes of an event."""

from typing import Any

from service import Event, PermanentError, handler


@handler("{name}", concurrency=64, timeout_s=2)
async def {name}(event: Event) -> dict[str, Any] | None:
    """One result per event; ``None`` for none, a list for several.

    Raise ``service.TransientError`` for what may work later: it is tried again.  A
    ``PermanentError`` goes to the dead-letter topic at once.
    """
    if "message" not in event.data:
        raise PermanentError("message: missing")
    return {{**event.data, "handled_by": "{name}"}}
'''

_TEST = '''\
"""Needs no Kafka: the fixture `headrace` runs a pipeline in memory and in virtual time."""

from typing import Any

import {name} as module


async def test_an_event_becomes_a_result(headrace: Any) -> None:
    async with headrace(module.{name}) as service:
        await service.send({{"message": "hello"}}, key="k")
        await service.settle()

        assert service.outputs() == [{{"message": "hello", "handled_by": "{name}"}}]


async def test_an_event_without_a_message_is_dead_lettered(headrace: Any) -> None:
    async with headrace(module.{name}) as service:
        await service.send({{"other": 1}})
        await service.settle()

        assert [letter.code for letter in service.dead_letters()] == ["handler"]
        assert service.outputs() == []
'''

_NEXT = """\
wrote {handler} and {test}

test it:       python -m pytest {test}
configure it:  pipelines.<name>.handlers.{name}: {{use: "{name}:{name}", output: <topic>}}
               (with {directory} on PYTHONPATH)
"""


def main(arguments: argparse.Namespace) -> int:
    """Write both files; existing ones are left alone.

    Raises:
        UsageError: If the name is no Python name, or something else is called so.
        ConfigurationError: If a file is there or cannot be written.
    """
    name: str = arguments.name
    if keyword.iskeyword(name):
        raise UsageError(f"{name!r} is no Python name: it is a word of the language")
    if not name.isidentifier() or not name.isascii():
        rule = "letters, digits and _ only, no digit first"
        raise UsageError(f"{name!r} is no Python name: {rule}")
    directory: Path = arguments.directory
    handler, test = directory / f"{name}.py", directory / f"test_{name}.py"
    try:
        for file in (handler, test):
            if file.exists():
                raise ConfigurationError([f"{file} is already there"])
        _refuse_taken(name)
        directory.mkdir(parents=True, exist_ok=True)
        handler.write_text(_HANDLER.format(name=name), encoding="utf-8")
        test.write_text(_TEST.format(name=name), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"{error.filename}: {error.strerror}"]) from error
    print(_NEXT.format(name=name, handler=handler, test=test, directory=directory), end="")
    return OK


def _refuse_taken(name: str) -> None:
    """Refuse a name that already means something.

    Raises:
        UsageError: If a handler of the service is called so, or a module that others import: with
            the directory on PYTHONPATH ours would be imported in its place.
    """
    if name in SHIPPED:
        raise UsageError(f"{name!r} is a handler that comes with the service: take another name")
    known = name in sys.modules or name in sys.stdlib_module_names
    spec = None if known else find_spec(name)
    if known or (spec is not None and spec.origin is not None):  # else only a directory
        raise UsageError(f"{name!r} is a module of Python's or installed: take another name")

"""Builds what the configuration names - handlers, options, normalizers - to see whether it can be.

Of what comes with an extra it looks whether that is installed.  No connection is made and no
handler is called.
"""

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from service.app.changelogs import state_problems
from service.errors import ConfigurationError
from service.handlers import load_handler
from service.handlers.inputs import converter
from service.handlers.options import validate_options
from service.normalizers import load_normalizer
from service.settings import HandlerSettings, PipelineSettings, Settings

_CLIENTS: Mapping[str, str] = {"rabbitmq": "aio_pika", "llm": "aiohttp"}
"""The package that a source of this type needs; its extra is called like the type."""


def component_problems(settings: Settings) -> list[str]:
    """One line per handler, option, normalizer or extra that does not exist or does not fit."""
    problems: list[str] = []
    if settings.server.jwt is not None:
        problems += _extra("server.jwt: needs", "jwt", "jwt")
    if settings.state.store == "rocksdb":
        problems += _extra("state.store: rocksdb needs", "rocksdict", "rocksdb")
    for name, pipeline in settings.pipelines.items():
        for source_name, source in pipeline.sources.items():
            if source.type in _CLIENTS:
                path = f"pipelines.{name}.sources.{source_name}"
                problems += _extra(f"{path}: needs", _CLIENTS[source.type], source.type)
        problems += _normalizer(f"pipelines.{name}", pipeline)
        for handler_name, handler in pipeline.handlers.items():
            problems += _handler(f"pipelines.{name}.handlers.{handler_name}", handler)
    return problems or state_problems(settings)


def _extra(subject: str, package: str, extra: str) -> Iterator[str]:
    if find_spec(package) is None:
        yield f"{subject} the extra: pip install 'headrace[{extra}]'"


def _normalizer(path: str, pipeline: PipelineSettings) -> Iterator[str]:
    try:
        load_normalizer(pipeline.normalizer, options=pipeline.normalizer_options)
    except ConfigurationError as error:
        yield from (f"{path}.{problem}" for problem in error.problems)


def _handler(path: str, handler: HandlerSettings) -> Iterator[str]:
    try:
        spec = load_handler(handler.use, run_in=handler.placed)
    except ConfigurationError as error:
        yield from (f"{path}.use: {problem}" for problem in error.problems)
        return
    try:
        validate_options(spec.options, handler.options, f"{path}.options")
    except ConfigurationError as error:
        yield from error.problems
    if spec.input_type is None:
        return
    try:
        converter(spec.input_type)
    except ConfigurationError as error:
        yield from (f"{path}.use: {problem}" for problem in error.problems)

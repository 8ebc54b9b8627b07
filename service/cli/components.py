"""Builds what the configuration names - handlers, options, normalizers - to see whether it can be.

No connection is made and no handler is called.
"""

from collections.abc import Iterator

from service.errors import ConfigurationError
from service.handlers import load_handler
from service.handlers.inputs import converter
from service.handlers.options import validate_options
from service.normalizers import load_normalizer
from service.settings import HandlerSettings, PipelineSettings, Settings


def component_problems(settings: Settings) -> list[str]:
    """One line per handler, option or normalizer that does not exist or does not fit."""
    problems: list[str] = []
    for name, pipeline in settings.pipelines.items():
        problems += _normalizer(f"pipelines.{name}", pipeline)
        for handler_name, handler in pipeline.handlers.items():
            problems += _handler(f"pipelines.{name}.handlers.{handler_name}", handler)
    return problems


def _normalizer(path: str, pipeline: PipelineSettings) -> Iterator[str]:
    try:
        load_normalizer(pipeline.normalizer, None, pipeline.normalizer_options)
    except ConfigurationError as error:
        yield from (f"{path}.{problem}" for problem in error.problems)


def _handler(path: str, handler: HandlerSettings) -> Iterator[str]:
    try:
        spec = load_handler(handler.use)
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

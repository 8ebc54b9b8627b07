"""Finds handlers whose results would have no topic to go to, as far as annotations tell.

Each such result would become a dead letter.  A handler that returns ``Result`` may name the topic
itself, and what is not annotated is not known.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from inspect import isclass, isroutine
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from service.handlers import load_handler
from service.handlers.inputs import is_union
from service.settings import Settings
from service.settings.chains import fed_by

_PLAIN = (Mapping, str, bytes, int, float)


def unaddressed_results(settings: Settings) -> Iterator[str]:
    """One line per handler without an output that is declared to return results."""
    for name, pipeline in settings.pipelines.items():
        for handler_name, handler in pipeline.handlers.items():
            if handler.output is not None or fed_by(settings, name, handler_name):
                continue
            if _names_no_topic(_returned(load_handler(handler.use).target)):
                yield (
                    f"pipelines.{name}.handlers.{handler_name}.output: is not set, and what "
                    f"{handler.use} returns names no topic: each result would be a dead letter"
                )


def _returned(target: Any) -> Any:
    """The annotation of what a handler returns; ``None`` if there is none that can be read."""
    function = target if isroutine(target) else getattr(target, "__call__", None)  # noqa: B004 -- its annotation
    try:
        return get_type_hints(function).get("return")
    except Exception:  # noqa: BLE001 -- the user's code: a name that only the type checker knows
        return None  # or it has none: functools.partial, something built in


def _names_no_topic(hint: Any) -> bool:
    """Whether a value of this type is a result, or several, that cannot name a topic."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _names_no_topic(arguments[0])
    if is_union(hint):
        some = [each for each in arguments if each is not type(None)]
        return bool(some) and all(map(_names_no_topic, some))
    kind = hint if origin is None else origin
    if not isclass(kind):
        return False
    if issubclass(kind, _PLAIN):
        return True
    several = issubclass(kind, list | tuple | Iterator | AsyncIterator)
    return several and bool(arguments) and _names_no_topic(arguments[0])

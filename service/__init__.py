"""Headrace: events from Kafka and WebSockets, through bounded channels and streams, to topics.

What a handler's author needs is importable from here; everything else has a home of its own
(see ``docs/architecture.md``).
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from service.errors import PermanentError, TransientError
    from service.events import SAME_KEY, Event, Result
    from service.handlers import HandlerContext, handler

__all__ = [
    "SAME_KEY",
    "Event",
    "HandlerContext",
    "PermanentError",
    "Result",
    "TransientError",
    "handler",
]

_HOMES = {
    "PermanentError": "service.errors",
    "TransientError": "service.errors",
    "SAME_KEY": "service.events",
    "Event": "service.events",
    "Result": "service.events",
    "HandlerContext": "service.handlers",
    "handler": "service.handlers",
}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: a health probe must not pay for the handlers."""
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    import importlib  # noqa: PLC0415 -- as above

    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value

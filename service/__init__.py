"""Headrace: events from Kafka and WebSockets, through bounded channels and streams, to topics.

What a handler's author needs is importable from here; everything else has a home of its own
(see ``docs/architecture.md``).
"""

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

"""The handler API, and the handlers that come with the service.

A handler is a function or a class declared with :func:`handler`; the dispatcher finds it with
:func:`load_handler`, binds it to its options and calls it.  Handlers know events and results;
they never learn what a consumer or a publisher is.
"""

from service.handlers.context import Clients, HandlerContext
from service.handlers.registry import load_handler
from service.handlers.spec import handler
from service.handlers.timers import EventTimers, KeyTimers, Timer
from service.state.keyed import Codec, KeyedState, Partition, Place

__all__ = [
    "Clients",
    "Codec",
    "EventTimers",
    "HandlerContext",
    "KeyTimers",
    "KeyedState",
    "Partition",
    "Place",
    "Timer",
    "handler",
    "load_handler",
]

"""The handler API, and the handlers that come with the service.

A handler is a function or a class declared with :func:`handler`; the dispatcher finds it with
:func:`load_handler`, binds it to its options and calls it.  Handlers know events and results;
they never learn what a consumer or a publisher is.
"""

from service.handlers.bound import BoundHandler
from service.handlers.context import Clients, Emit, HandlerContext
from service.handlers.registry import known_handlers, load_handler
from service.handlers.results import MAX_RESULTS, to_results
from service.handlers.spec import HandlerSpec, Ordering, RunIn, handler
from service.handlers.state import MemoryStateStore
from service.handlers.timers import EventTimers, KeyTimers, Timer
from service.state.keyed import Codec, KeyedState, Partition, Place, StateStore

__all__ = [
    "MAX_RESULTS",
    "BoundHandler",
    "Clients",
    "Codec",
    "Emit",
    "EventTimers",
    "HandlerContext",
    "HandlerSpec",
    "KeyTimers",
    "KeyedState",
    "MemoryStateStore",
    "Ordering",
    "Partition",
    "Place",
    "RunIn",
    "StateStore",
    "Timer",
    "handler",
    "known_handlers",
    "load_handler",
    "to_results",
]

"""From events to outcomes: filter, lanes, attempts, retries, timeouts.

What a handler raises becomes a value here; nothing that a handler does travels further as an
exception.
"""

from service.dispatch.dispatcher import Dispatcher
from service.dispatch.lanes import lane_of
from service.dispatch.normalize import Normalize

__all__ = ["Dispatcher", "Normalize", "lane_of"]

"""Streams: items that come one after the other, and what can be done with them.

Made after tokio-stream's and futures-rs's ``StreamExt``, with asyncio's rules for tasks and
cancellation.  Usable alone: it knows nothing of Kafka or of events.
"""

from service.streams.calls import Later
from service.streams.constructors import empty, iter, once, pending, repeat, repeat_with  # noqa: A004
from service.streams.lanes import Lanes
from service.streams.receiver import ReceiverStream
from service.streams.result import Err, Ok, Result
from service.streams.stage import Stage
from service.streams.stream import Stream

__all__ = [
    "Err",
    "Lanes",
    "Later",
    "Ok",
    "ReceiverStream",
    "Result",
    "Stage",
    "Stream",
    "empty",
    "iter",
    "once",
    "pending",
    "repeat",
    "repeat_with",
]

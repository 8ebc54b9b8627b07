"""Streams: items that come one after the other, and what can be done with them.

Made after tokio-stream's and futures-rs's ``StreamExt``, with asyncio's rules for tasks and
cancellation.  Usable alone: it knows nothing of Kafka or of events.
"""

from service.streams.begun import Begun
from service.streams.calls import Call, Eager, Later, Work
from service.streams.children import Child, cancelled_by_others
from service.streams.constructors import (
    empty,
    iter,  # noqa: A004 -- the name that the field knows it by
    once,
    pending,
    repeat,
    repeat_with,
)
from service.streams.generators import from_async, stream, try_unfold, unfold
from service.streams.lanes import Lanes
from service.streams.peekable import Peekable
from service.streams.receiver import ReceiverStream, WeighedStream
from service.streams.result import Err, Ok, Partial, Result
from service.streams.selection import interval, select, select_all, select_biased
from service.streams.shared import BroadcastStream, WatchStream
from service.streams.stage import Stage
from service.streams.stream import Stream
from service.streams.stream_map import StreamMap

__all__ = [
    "Begun",
    "BroadcastStream",
    "Call",
    "Child",
    "Eager",
    "Err",
    "Lanes",
    "Later",
    "Ok",
    "Partial",
    "Peekable",
    "ReceiverStream",
    "Result",
    "Stage",
    "Stream",
    "StreamMap",
    "WatchStream",
    "WeighedStream",
    "Work",
    "cancelled_by_others",
    "empty",
    "from_async",
    "interval",
    "iter",
    "once",
    "pending",
    "repeat",
    "repeat_with",
    "select",
    "select_all",
    "select_biased",
    "stream",
    "try_unfold",
    "unfold",
]

"""The values that travel: records, batches of them, events, outcomes.

Nothing here knows Kafka's client, a clock or the event loop.  A *record* is what a source
stores (bytes); an *event* is a normalized record; an *outcome* is what handling made of an
event.  The acknowledgement travels with them: every event knows its batch and its index there,
and :meth:`RecordBatch.ack` is all that a publisher needs to call.

What is made per record is a msgspec struct: making one costs a fifth of what it does with an
``__init__`` in Python.  Treat them as immutable all the same.
"""

from service.events.batch import CHUNK_BYTES, CHUNK_RECORDS, Handover, Permission, RecordBatch
from service.events.event import Envelope, Event, EventBatch
from service.events.failure import Failure
from service.events.outcomes import SAME_KEY, Handled, Outcome, Result, Results, SameKey
from service.events.records import TRACEPARENT_MAX_BYTES, Headers, Record, SourceRecord

__all__ = [
    "CHUNK_BYTES",
    "CHUNK_RECORDS",
    "SAME_KEY",
    "TRACEPARENT_MAX_BYTES",
    "Envelope",
    "Event",
    "EventBatch",
    "Failure",
    "Handled",
    "Handover",
    "Headers",
    "Outcome",
    "Permission",
    "Record",
    "RecordBatch",
    "Result",
    "Results",
    "SameKey",
    "SourceRecord",
]

"""Records that wait in a delay topic for their next attempt: what travels with them.

A delay topic holds each record for one fixed time, so its records become due in order and a
reader may stop at the first that is not.  The record goes back to the handler that failed, not
to the others of its pipeline, with the attempts it has had.  Order by key is given up: that is
what the configuration asks for when it names delay topics.
"""

from service.delivery.retry import Delay
from service.events import Event, Headers, RecordBatch, Result

NOT_BEFORE = "headrace-not-before"
"""Milliseconds since the Unix epoch at which the record is due."""
RUNG = "headrace-rung"
"""Delay topics passed, this one included."""
ATTEMPTS = "headrace-attempts"
FOR_HANDLER = "headrace-for-handler"
ORIGIN = "headrace-origin"
"""Where the record came from in the first place: ``topic/partition/offset``."""

_ORIGIN_NUMBERS = 2
_TOPIC_MAX = 249  # of any topic of Kafka
_DIGITS_MAX = len(str(2**63 - 1))


class Delayed(Result):
    """A record on its way to a delay topic: as it came, with our headers behind its own.

    Args:
        event: The event whose attempt has failed.
        decision: Where it goes.
        handler: The handler that failed.
        now_ms: Now, in milliseconds since the Unix epoch.

    Attributes:
        pairs: All its headers.  Names may repeat here, and what a result says of itself, an id
            and a type of content, would be said of somebody else's record.
    """

    __slots__ = ("pairs",)

    def __init__(self, event: Event, decision: Delay, *, handler: str, now_ms: int) -> None:
        record = event.batch.records[event.index]
        super().__init__(record.value, topic=decision.topic, key=record.key)
        own, origin = original_of(record.headers)
        topic, partition, offset = origin or (event.topic, event.partition, event.offset)
        self.pairs: list[tuple[str, bytes]] = [
            *own,
            (ORIGIN, f"{topic}/{partition}/{offset}".encode()),
            (NOT_BEFORE, b"%d" % (now_ms + int(decision.delay_s * 1000))),
            (RUNG, b"%d" % decision.rung),
            (ATTEMPTS, b"%d" % event.attempts),
            (FOR_HANDLER, handler.encode()),
        ]


def not_before_ms(headers: Headers) -> int:
    """When a record is due, in milliseconds since the Unix epoch; 0 if it does not say."""
    return _number(headers, NOT_BEFORE)


def attempts_of(headers: Headers) -> int:
    """Failed attempts before this round; 0 if it does not say."""
    return _number(headers, ATTEMPTS)


def rung_of(headers: Headers) -> int:
    """Delay topics passed; 0 if it does not say."""
    return _number(headers, RUNG)


def delayed_for(batch: RecordBatch, index: int) -> str:
    """The handler that a delayed record waits for; the empty string if it does not say."""
    return _text(batch.records[index].headers, FOR_HANDLER)


def original_of(headers: Headers) -> tuple[Headers, tuple[str, int, int] | None]:
    """A record's headers as the original had them, and the original's topic, partition and offset.

    ``None`` for those if it has not been through delay topics: a dead letter names its origin
    too, and may be anybody's input.
    """
    names = [name for name, _ in headers]
    if RUNG not in names:
        return headers, None
    for place in range(len(names) - 1, -1, -1):
        if names[place] == ORIGIN and RUNG in names[place:]:
            origin = _parsed((headers[place][1] or b"").decode("utf-8", "replace"))
            return (headers, None) if origin is None else (headers[:place], origin)
    return headers, None


def _parsed(origin: str) -> tuple[str, int, int] | None:
    topic, *numbers = origin.rsplit("/", 2)
    if not 0 < len(topic) <= _TOPIC_MAX or len(numbers) != _ORIGIN_NUMBERS:
        return None
    if not all(map(_is_number, numbers)):
        return None
    return topic, int(numbers[0]), int(numbers[1])


def _text(headers: Headers, wanted: str) -> str:
    """The last header of a name, as ours come last."""
    for name, content in reversed(headers):
        if name == wanted:
            return (content or b"").decode("utf-8", "replace")
    return ""


def _number(headers: Headers, wanted: str) -> int:
    text = _text(headers, wanted)
    return int(text) if _is_number(text) else 0


def _is_number(text: str) -> bool:
    """Whether it is a number that we may have written: anyone can write headers, of any length."""
    return text.isdecimal() and text.isascii() and len(text) <= _DIGITS_MAX

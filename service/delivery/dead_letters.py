"""What a dead-letter record looks like, and how it is read back and sent home.

A dead-letter record is the original (key, value and headers unchanged) plus headers of ours that
say what went wrong.  Only what no topic would take is cut: then the body is truncated and a hash
of the whole stands beside it.  Ours come last and begin with ``headrace-error``, so a record that
dies twice tells of its last death, and its first one is still told.

Pure: makes and reads records, publishes none.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from service.clock import LATEST_MS
from service.delivery.failures import one_line
from service.events import Failure, Headers

ERROR = "headrace-error"
DETAIL = "headrace-error-detail"
STAGE = "headrace-stage"
HANDLER = "headrace-handler"
ATTEMPTS = "headrace-attempts"
ORIGIN = "headrace-origin"
FAILED_AT = "headrace-failed-at"
VALUE_SHA256 = "headrace-value-sha256"
VALUE_BYTES = "headrace-value-bytes"
KEY_SHA256 = "headrace-key-sha256"
HEADERS_DROPPED = "headrace-headers-dropped"
REDRIVES = "headrace-redrives"

_OF_A_DEATH = frozenset(
    {
        ERROR,
        DETAIL,
        STAGE,
        HANDLER,
        ATTEMPTS,
        ORIGIN,
        FAILED_AT,
        VALUE_SHA256,
        VALUE_BYTES,
        KEY_SHA256,
        HEADERS_DROPPED,
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_HEADER_OVERHEAD_BYTES = 10
"""Two varint lengths at their longest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRecord:
    """What to publish to the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterInfo:
    """What the headers of a dead-letter record say.

    Attributes:
        code: As in ``headrace-error``.
        detail: One line about it.
        stage: Where in the pipeline it happened.
        handler: Name of the handler, or the empty string.
        attempts: How often it was tried; 0 if unreadable.
        origin: Topic, partition and offset of the original; ``None`` if unreadable.
        failed_at: RFC 3339, UTC.
        redrives: How often the record was sent back before.
        complete: Key, value and headers are the original's; otherwise something was cut.
    """

    code: str
    detail: str
    stage: str
    handler: str
    attempts: int
    origin: tuple[str, int, int] | None
    failed_at: str
    redrives: int
    complete: bool


def dead_letter(
    failure: Failure,
    *,
    key: bytes | None,
    value: bytes | None,
    headers: Headers,
    origin: tuple[str, int, int],
    failed_at_ms: int,
    max_bytes: int,
) -> DeadLetterRecord:
    """The dead-letter record for an original that met ``failure``.

    What exceeds ``max_bytes`` is cut in this order: the value's end, the original headers, the
    key's end; each cut leaves a header that tells of it.

    Args:
        failure: Why it died.
        key: The original key.
        value: The original value; ``None`` stays a tombstone.
        headers: The original headers.
        origin: Topic, partition and offset of the original.
        failed_at_ms: Now, in milliseconds since the Unix epoch.
        max_bytes: Most bytes of key, value and headers that the dead-letter topic takes; below
            about 2.4 KiB they may come out larger, for our own headers are never cut.
    """
    ours = _headers_of(failure, origin, failed_at_ms)
    whole = (*headers, *ours)
    if record_bytes(key, value, whole) <= max_bytes:
        return DeadLetterRecord(key=key, value=value, headers=whole)
    if value is not None:
        ours += (
            (VALUE_SHA256, sha256(value).hexdigest().encode("ascii")),
            (VALUE_BYTES, b"%d" % len(value)),
        )
    kept = tuple(headers)
    room = max_bytes - record_bytes(key, None, (*kept, *ours))
    if room < 0:
        ours += ((HEADERS_DROPPED, b"%d" % len(kept)),)
        kept = ()
        room = max_bytes - record_bytes(key, None, ours)
    if room < 0 and key is not None:
        ours += ((KEY_SHA256, sha256(key).hexdigest().encode("ascii")),)
        key = key[: max(max_bytes - record_bytes(None, None, ours), 0)]
        room = max_bytes - record_bytes(key, None, ours)
    cut = None if value is None else value[: max(room, 0)]
    return DeadLetterRecord(key=key, value=cut, headers=(*kept, *ours))


def record_bytes(
    key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes]]
) -> int:
    """Upper bound of what key, value and headers take in a record, uncompressed."""
    size = len(key or b"") + len(value or b"")
    for name, content in headers:
        size += len(name.encode("utf-8", "surrogatepass")) + len(content or b"")
        size += _HEADER_OVERHEAD_BYTES
    return size


def parse_dead_letter(headers: Headers) -> DeadLetterInfo | None:
    """What a dead-letter record's headers say; ``None`` if it is not one of ours.

    Total: unreadable numbers become 0 or ``None``.
    """
    death = _death(headers)
    if not death:
        return None
    last = {name: content or b"" for name, content in death}

    def text(name: str) -> str:
        return one_line(last.get(name, b"").decode("utf-8", "replace"))

    return DeadLetterInfo(
        code=text(ERROR),
        detail=text(DETAIL),
        stage=text(STAGE),
        handler=text(HANDLER),
        attempts=_number(last.get(ATTEMPTS)),
        origin=_parse_origin(text(ORIGIN)),
        failed_at=text(FAILED_AT),
        redrives=_number(dict(headers).get(REDRIVES)),
        complete=not last.keys() & {VALUE_SHA256, HEADERS_DROPPED, KEY_SHA256},
    )


def redrive_headers(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    """The headers with which a dead-letter record goes back to its origin.

    The original's own, without what told of the death, and with ``headrace-redrives`` counted
    up.  If the record dies again it keeps that count, which is how :func:`redrive_refusal` sees
    a loop.
    """
    redrives = _number(dict(headers).get(REDRIVES)) + 1
    ours = len(headers) - len(_death(headers))
    kept = (
        pair
        for place, pair in enumerate(headers)
        if pair[0] != REDRIVES and (place < ours or pair[0] not in _OF_A_DEATH)
    )
    return (*kept, (REDRIVES, b"%d" % redrives))


def redrive_refusal(info: DeadLetterInfo, *, max_redrives: int = 3) -> str | None:
    """Why the record should not be sent back, as a sentence's end; ``None`` if it may go."""
    if info.origin is None:
        return "its origin is unreadable"
    if info.code == "batch":
        return "the stored batch could not be read, so there is no original here"
    if not info.complete:
        return "it was cut to fit the dead-letter topic, so the original is not all here"
    if info.redrives >= max_redrives:
        return f"sent back as often as --max-redrives allows ({max_redrives}), and dead again"
    return None


def _death(headers: Headers) -> Headers:
    """Our headers of the last death; an original may carry some from an earlier one."""
    for place in range(len(headers) - 1, -1, -1):
        if headers[place][0] == ERROR:
            return headers[place:]
    return ()


def _headers_of(
    failure: Failure, origin: tuple[str, int, int], failed_at_ms: int
) -> tuple[tuple[str, bytes], ...]:
    topic, partition, offset = origin
    # Stamps of records range from -1 to any 64-bit number; a clock's do too when it is broken.
    stamp = _EPOCH + timedelta(milliseconds=min(max(failed_at_ms, 0), LATEST_MS))
    failed_at = stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return (
        (ERROR, failure.code.encode("ascii", "replace")),
        (DETAIL, one_line(failure.detail).encode("utf-8")),
        (STAGE, failure.stage.encode("utf-8", "replace")),
        (HANDLER, failure.handler.encode("utf-8", "replace")),
        (ATTEMPTS, b"%d" % failure.attempts),
        (ORIGIN, f"{topic}/{partition}/{offset}".encode("utf-8", "replace")),
        (FAILED_AT, failed_at.encode("ascii")),
    )


def _number(content: bytes | None) -> int:
    """A small decimal number, or 0; bounded, since anyone can write headers."""
    if content is None or not content.isdigit() or len(content) > len(b"4294967295"):
        return 0
    return int(content)


def _parse_origin(origin: str) -> tuple[str, int, int] | None:
    topic, _, rest = origin.partition("/")
    partition, _, offset = rest.partition("/")
    digits = partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()
    if (
        not topic
        or not digits
        or len(partition) > len("2147483647")
        or len(offset) > len(str(1 << 62))
    ):
        return None
    return topic, int(partition), int(offset)

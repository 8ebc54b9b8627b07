"""What travels with a commit: everything finished beyond it, attempts, and the crash journal.

Kafka stores a short string beside each committed offset.  There, a partition's next owner finds
which records above the offset need no second run, how often the failing ones were tried, and
whether the last owner closed the partition or died with it.  Losing the string costs duplicates
and retries, never records: so whatever is foreign, damaged or belongs to another offset is
ignored, and what does not fit is left out, highest offsets first.

Text format: ``hr3:`` and unpadded URL-safe base64 of ``crc32 | journal | attempts | handlers | runs
| bitmap``; all numbers are LEB128 varints, all offsets are distances.  Finished ranges are run
lengths first and a bitmap last; the split that makes the shortest text is taken, since runs suit
a few stuck records and a bitmap suits the ragged edge of concurrent work.  The checksum covers
the committed offset too, so a string that some tool copied to another offset is not believed.

Knows nothing of a client, and nothing of why records were finished.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from service.delivery.handed_over import FinishedBy, above
from service.delivery.skips import Range
from service.delivery.varints import VarintReader, varint, varint_size

METADATA_MAX_BYTES = 4000
"""Largest text made here; brokers accept 4096 by default (``offset.metadata.max.bytes``)."""

_PREFIX = "hr3:"
_CRC_BYTES = 4
_PAYLOAD_MAX_BYTES = (METADATA_MAX_BYTES - len(_PREFIX)) * 3 // 4 - _CRC_BYTES  # base64: 3 in 4
_ATTEMPTS_MAX_BYTES = 1000
"""For attempts and, in the room that they leave, for who is finished with what others have left."""
_JOURNAL_MAX_BYTES = 40
_RANGES_MAX_BYTES = _PAYLOAD_MAX_BYTES - _ATTEMPTS_MAX_BYTES - _JOURNAL_MAX_BYTES
BITMAP_MAX_BYTES = _RANGES_MAX_BYTES - 1
"""Largest ready-made bitmap that :func:`encode` takes."""
# Runs and bitmap share their border, whose varint may still grow by a few bytes.
# The count of runs takes up to three more.
_SURE_BYTES = _RANGES_MAX_BYTES - 16
ALWAYS_FIT = 8 * _SURE_BYTES
"""So many positions fit whatever of them is finished, as a bitmap: about 15,000."""
_CRASHES_MAX = 100
_ONE_BYTE = 0x80
"""Numbers below this are varints of one byte, their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """Written while a partition is open, so that the next owner sees that nobody closed it.

    Attributes:
        open: Somebody is working on it; ``False`` when it was closed in order, but under
            suspicion.
        owner: Random number of the process, below 2**32; a process that gets a partition back
            did not crash.
        crashes: Owners in a row that ended without closing it, perhaps for the same record.
        window_end: Nothing at or above this offset was dispatched.
        suspects_end: One past the last record that may be the one, if there were crashes.
        alone: Offset of the one record that runs with nothing beside it, if any.
    """

    open: bool = True
    owner: int = 0
    crashes: int = 0
    window_end: int
    suspects_end: int | None = None
    alone: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What is known of a partition at and above its committed offset.

    Attributes:
        finished: Ranges of finished offsets, ascending, disjoint, none below the committed one.
            The first may begin at it: a commit does not pass what was not delivered.
        attempts: Failed attempts so far by offset, for records that are still to be retried.
        finished_by: What single handlers are finished with while others are not.
        journal: ``None`` when the partition was closed in order and nothing is suspected.
    """

    finished: tuple[Range, ...] = ()
    attempts: Mapping[int, int] = field(default_factory=dict[int, int])
    finished_by: FinishedBy = field(default_factory=dict[str, Sequence[Range]])
    journal: Journal | None = None


NOTHING_KNOWN = Progress()
"""What foreign, damaged or missing metadata decodes to."""


def encode(next_offset: int, progress: Progress, *, bitmap: bytes | None = None) -> str:
    """Metadata for a commit of ``next_offset``: ASCII, at most :data:`METADATA_MAX_BYTES`.

    Always fits: of attempts and single handlers what is beyond 1000 bytes is left out, and then the
    highest finished ranges, which :func:`would_overflow` tells in time.  Nothing to say is the
    empty string.

    Args:
        next_offset: The offset to be committed.
        progress: What is known.
        bitmap: What is finished, in place of ``progress.finished``: one bit per position from
            ``next_offset`` on, lowest bit first; at most :data:`BITMAP_MAX_BYTES`.
    """
    # One may begin right here: what an earlier owner finished and was not delivered again yet.
    ranges = [
        (max(start, next_offset), end) for start, end in progress.finished if end > next_offset
    ]
    finished_by = above(progress.finished_by, next_offset)
    if not (ranges or bitmap or progress.attempts or finished_by or progress.journal is not None):
        return ""
    attempts = _attempts_bytes(next_offset, progress.attempts)
    body = _journal_bytes(next_offset, progress.journal) + attempts
    body += _handlers_bytes(next_offset, finished_by, _ATTEMPTS_MAX_BYTES - len(attempts))
    if bitmap is None:
        body += _ranges_bytes(next_offset, ranges, _PAYLOAD_MAX_BYTES - len(body))
    else:
        body += varint(0) + bitmap  # no runs
    checksum = _checksum(next_offset, body).to_bytes(_CRC_BYTES, "big")
    return _PREFIX + urlsafe_b64encode(checksum + body).rstrip(b"=").decode("ascii")


def decode(next_offset: int, text: str | None) -> Progress:
    """Read back what :func:`encode` wrote for a commit of ``next_offset``.

    Total: anything else, damaged text included, is :data:`NOTHING_KNOWN`.
    """
    if text is None or len(text) > METADATA_MAX_BYTES or not text.startswith(_PREFIX):
        return NOTHING_KNOWN
    encoded = text[len(_PREFIX) :]
    try:
        payload = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))
        checksum, body = payload[:_CRC_BYTES], payload[_CRC_BYTES:]
        if int.from_bytes(checksum, "big") != _checksum(next_offset, body):
            return NOTHING_KNOWN
        return _parse(next_offset, VarintReader(body))
    except (ValueError, binascii.Error):
        return NOTHING_KNOWN


def would_overflow(next_offset: int, finished: Iterable[Range], end_offset: int) -> bool:
    """Whether finishing more records below ``end_offset`` might not fit the metadata.

    Ask before fetching, with the end of what would then be delivered; while the answer is yes,
    stop intake of the partition, and every record finished meanwhile is still remembered.  The
    bound is over every order in which the unfinished rest could complete: a gap of ``m``
    positions can break into run lengths of at most ``m`` bytes together, or the tail is a
    bitmap.  About 15,000 positions always fit, and any number behind a few stuck records.

    Args:
        next_offset: The offset to be committed.
        finished: Finished ranges at or above it.
        end_offset: One past the highest offset that would be delivered.
    """
    room = _SURE_BYTES
    runs_bytes = 0
    at = next_offset
    for start, end in finished:
        if (end_offset - at + 7) // 8 <= room - runs_bytes:
            return False
        runs_bytes += max(start - at, 1) + varint_size(end - start)
        if runs_bytes > room:
            return True
        at = end
    return (max(end_offset - at, 0) + 7) // 8 > room - runs_bytes


def _checksum(next_offset: int, body: bytes) -> int:
    return crc32(body, crc32(next_offset.to_bytes(8, "big")))


def _journal_bytes(next_offset: int, journal: Journal | None) -> bytes:
    """2 * crashes + open + 1 (0: none), owner; both ends and the lone record as distances + 1."""
    if journal is None:
        return b"\0"
    alone = 0 if journal.alone is None else max(journal.alone - next_offset + 1, 0)
    state = 2 * min(journal.crashes, _CRASHES_MAX) + journal.open + 1
    return (
        varint(state)
        + varint(journal.owner)
        + _end_bytes(next_offset, journal.window_end)
        + _end_bytes(next_offset, journal.suspects_end)
        + varint(alone)
    )


def _end_bytes(next_offset: int, end: int | None) -> bytes:
    return varint(0 if end is None else max(end - next_offset, 0) + 1)


def _attempts_bytes(next_offset: int, attempts: Mapping[int, int]) -> bytes:
    """Count, then (distance, attempts) by offset; lowest offsets first while they fit."""
    pairs = b""
    count = 0
    at = next_offset
    for offset in sorted(attempts):
        if offset < next_offset or attempts[offset] <= 0:
            continue
        pair = varint(offset - at) + varint(attempts[offset])
        if len(pairs) + len(pair) > _ATTEMPTS_MAX_BYTES - 3:  # their number, and no handlers
            break
        pairs += pair
        count += 1
        at = offset
    return varint(count) + pairs


def _handlers_bytes(next_offset: int, finished_by: FinishedBy, room: int) -> bytes:
    """Count, then name and runs as (gap, length) of each; the lowest runs of each while they fit.

    Room is shared out evenly: what one is finished with and cannot say, it does once more.
    """
    written = b""
    count = 0
    for left, (handler, ranges) in zip(
        range(len(finished_by), 0, -1), sorted(finished_by.items()), strict=True
    ):
        name = handler.encode()
        head = varint(len(name)) + name
        mine = (room - 3 - len(written)) // left - len(head) - 3  # the counts of both
        runs = b""
        kept = 0
        at = next_offset
        for start, end in ranges:
            run = varint(start - at) + varint(end - start)
            if len(runs) + len(run) > mine:
                break
            runs += run
            kept += 1
            at = end
        if kept:
            written += head + varint(kept) + runs
            count += 1
    return varint(count) + written


def _ranges_bytes(next_offset: int, ranges: Sequence[Range], room: int) -> bytes:
    """Run count, runs as (gap, length), and the rest as a bitmap up to the end of the body."""
    runs = bytearray()
    at = next_offset
    # The cheapest so far: the bitmap starts at `base`, after `split` runs of `border` bytes.
    split, border, base = 0, 0, at
    fitting: tuple[int, int, int, int] | None = None
    room -= varint_size(len(ranges))
    for kept, (start, end) in enumerate(ranges, 1):
        gap, length = start - at, end - start
        if gap < _ONE_BYTE and length < _ONE_BYTE:  # nearly all are
            runs.append(gap)
            runs.append(length)
        else:
            runs += varint(gap) + varint(length)
        at = end
        if 8 * (len(runs) - border) < at - base:
            split, border, base = kept, len(runs), at
        if border + (end - base + 7) // 8 <= room:
            fitting = (kept, split, border, base)
    if fitting is None:
        return b"\0"
    kept, split, border, base = fitting
    return varint(split) + runs[:border] + _bitmap(base, ranges[split:kept])


def _bitmap(base: int, ranges: Sequence[Range]) -> bytes:
    """One bit per position from ``base`` on, lowest bit first.  Linear in the positions."""
    if not ranges:
        return b""
    span = ranges[-1][1] - base
    digits = bytearray(b"0") * span
    for start, end in ranges:
        digits[start - base : end - base] = b"1" * (end - start)
    digits.reverse()
    return int(digits, 2).to_bytes((span + 7) // 8, "little")


def _bitmap_ranges(base: int, bitmap: bytes) -> Iterator[Range]:
    digits = f"{int.from_bytes(bitmap, 'little'):b}"[::-1] + "0"
    start = digits.find("1")
    while start >= 0:
        end = digits.find("0", start)
        yield base + start, base + end
        start = digits.find("1", end)


def _parse(next_offset: int, reader: VarintReader) -> Progress:
    state = reader.varint()
    journal = None
    if state:
        owner = reader.varint()
        window = reader.varint()
        suspects = reader.varint()
        alone = reader.varint()
        journal = Journal(
            owner=owner,
            open=bool((state - 1) % 2),
            crashes=(state - 1) // 2,
            window_end=next_offset + window - 1,
            suspects_end=next_offset + suspects - 1 if suspects else None,
            alone=next_offset + alone - 1 if alone else None,
        )
    attempts: dict[int, int] = {}
    at = next_offset
    for _ in range(reader.varint()):
        at = at + reader.varint()
        attempts[at] = reader.varint()
    finished_by: dict[str, tuple[Range, ...]] = {}
    for _ in range(reader.varint()):
        name = reader.take(reader.varint()).decode()
        finished_by[name] = tuple(_runs(next_offset, reader))
    finished = list(_runs(next_offset, reader))
    at = finished[-1][1] if finished else next_offset
    finished += _bitmap_ranges(at, reader.rest())
    return Progress(
        finished=tuple(finished), attempts=attempts, finished_by=finished_by, journal=journal
    )


def _runs(next_offset: int, reader: VarintReader) -> Iterator[Range]:
    at = next_offset
    for _ in range(reader.varint()):
        start = at + reader.varint()
        at = start + reader.varint()
        yield start, at

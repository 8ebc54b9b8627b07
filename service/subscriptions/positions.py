"""Positions: where a subscription starts, and the ``next`` that it can resume from.

A position maps each partition to the offset to be read next.  Pure; the caller asks Kafka.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from service.subscriptions.encoding import EncodedEvent

Positions: TypeAlias = dict[int, int]
"""Next offset by partition."""

MAX_OFFSET = 2**63 - 1
"""Kafka's offsets are signed 64-bit integers."""


@dataclass(frozen=True, slots=True)
class FromLatest:
    """Only what comes from now on."""


@dataclass(frozen=True, slots=True)
class FromEarliest:
    """Everything that is still stored."""


@dataclass(frozen=True, slots=True)
class FromTimestamp:
    """From the first record at or after ``timestamp_ms`` (Kafka's milliseconds)."""

    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class FromOffsets:
    """From the given offsets; partitions that are not named start at their end."""

    offsets: Mapping[int, int]


Start: TypeAlias = FromLatest | FromEarliest | FromTimestamp | FromOffsets


def before(events: Iterable[EncodedEvent], end: Mapping[int, int]) -> Positions:
    """Where to resume so that ``events`` and all that follows ``end`` come again.

    ``events`` are what lies between the wanted position and ``end``, in order of arrival.
    Records that a filter skipped may be read again by a resume, but never an event before
    ``events``.
    """
    positions = dict(end)
    seen: set[int] = set()
    for event in events:
        if event.partition not in seen:
            seen.add(event.partition)
            positions[event.partition] = event.offset
            if len(seen) == len(positions):
                break  # nearly always soon, however much follows
    return positions


def covers(low: Mapping[int, int], wanted: Mapping[int, int]) -> bool:
    """Whether a window that starts at ``low`` holds everything from ``wanted`` on."""
    return all(wanted.get(partition, first) >= first for partition, first in low.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A start position that exists.

    Attributes:
        positions: Next offset of every partition.
        lost: Records that were asked for but are no longer stored, by count of offsets.
        beyond: Whether a position was asked for that the log has not reached, or of a partition
            that it does not have: it is another log, or has been cut, and nobody knows what the
            client has missed.
    """

    positions: Positions
    lost: int = 0
    beyond: bool = False


def clamp(
    wanted: Mapping[int, int],
    beginning: Mapping[int, int],
    end: Mapping[int, int],
    *,
    made_anew: bool = False,
) -> Resolved:
    """Move ``wanted`` into what is stored, and count what is gone.

    An offset beyond the end (a topic that was made anew, or a forged position) becomes the end, or
    the beginning if the topic is known to have been made anew: whoever asks has had nothing of it.
    That is noted in ``beyond``, as is a partition that does not exist.  An offset before the
    beginning becomes the beginning, and the offsets between are counted as lost.
    """
    positions: Positions = {}
    lost = 0
    beyond = not wanted.keys() <= end.keys()
    for partition, last in end.items():
        first = beginning.get(partition, 0)
        position = wanted.get(partition, last)
        if position < first:
            lost += first - position
        if position > last:
            beyond = True
            position = first if made_anew else last
        positions[partition] = max(position, first)
    return Resolved(positions=positions, lost=lost, beyond=beyond)

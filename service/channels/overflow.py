"""What a full channel does with one more item, as values.

Only ``WAIT`` makes senders wait; under every other policy ``send`` returns or raises at once, and
what was dropped is counted in the channel's statistics.
"""

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any


class Overflow(enum.Enum):
    """The policies that need no further argument; their values are the configuration's words."""

    WAIT = "wait"
    """Make the sender wait for a slot: backpressure."""

    REJECT = "reject"
    """Raise :class:`~service.errors.ChannelFullError`, which hands the item back."""

    DROP_NEWEST = "drop_newest"
    """Drop the item that is being sent; what is buffered stays."""

    DROP_OLDEST = "drop_oldest"
    """Drop the oldest buffered items until there is room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflate:
    """Keep only the latest item of each key.

    A new item takes the place of the buffered one with the same key, whether or not the channel
    is full, so the buffer never holds two items of one key and a capacity of at least the number
    of keys never overflows.  The item keeps the older one's place in the line, so a key that
    changes often is not starved.

    Args:
        key: The item's key.  It may be called more than once while the item is sent, and must not
            change its mind.
        when_full: What to do with a new key while the channel is full of others.
    """

    key: Callable[[Any], Hashable]
    when_full: Overflow = Overflow.DROP_OLDEST

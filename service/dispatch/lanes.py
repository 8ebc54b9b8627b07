"""Which events must not overtake each other."""

from collections.abc import Callable, Hashable
from operator import attrgetter
from typing import Any, Literal, TypeAlias

from service.events import Event

Ordering: TypeAlias = Literal["key", "partition", "none"]


def by_key(event: Event) -> Hashable:
    """One lane per key; events without a key are ordered within their partition."""
    key = event.key
    return (event.batch.topic, event.batch.partition) if key is None else key


def by_partition(event: Event) -> Hashable:
    """One lane per input partition."""
    return (event.batch.topic, event.batch.partition)


def no_order(_event: Event) -> None:
    """No lanes: events finish in any order."""


LANES: dict[Ordering, Callable[[Event], Hashable | None]] = {
    "key": by_key,
    "partition": by_partition,
    "none": no_order,
}


lane_of: Callable[[Any], Hashable | None] = attrgetter("lane")
"""The lane of a call; a finished outcome has none, because nothing of its lane is open."""

"""Records: what a source stores, bytes with a place."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

Headers: TypeAlias = Sequence[tuple[str, bytes]]
"""Record headers in order; names may repeat, as in Kafka."""

TRACEPARENT_MAX_BYTES = 256
"""Longest ``traceparent`` that is passed on; version 00 has 55 bytes, later ones may say more."""


class Record(Protocol):
    """What a source stores: bytes with a place.  Kafka's decoded records fit as they are."""

    @property
    def offset(self) -> int:
        """Position in its partition."""
        ...

    @property
    def timestamp(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...

    @property
    def key(self) -> bytes | None:
        """Key bytes, opaque to us."""
        ...

    @property
    def value(self) -> bytes | None:
        """Value bytes; ``None`` is a tombstone."""
        ...

    @property
    def headers(self) -> Headers:
        """Headers in order."""
        ...


class SourceRecord:
    """A record from a source that has no record type of its own (WebSocket, RabbitMQ, tests)."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(
        self,
        value: bytes | None,
        *,
        key: bytes | None = None,
        offset: int = 0,
        timestamp: int = 0,
        headers: Headers = (),
    ) -> None:
        self.value = value
        self.key = key
        self.offset = offset
        self.timestamp = timestamp
        self.headers = headers

"""Bytes as they are, for handlers that decode by themselves."""

from collections.abc import Sequence
from typing import Any

from service.events import Record
from service.normalizers.base import DEFAULT_LIMITS, TOMBSTONE, Limits, too_large


class RawNormalizer:
    """Gives each value's bytes; only the size is looked at.

    Args:
        limits: What one value may cost.
    """

    name = "raw"

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._max_bytes = limits.max_value_bytes

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """The bytes, a failure or a tombstone per record."""
        return [self.decode(record.value) for record in records]

    def decode(self, value: bytes | None) -> Any:
        """The bytes, a failure or a tombstone."""
        if value is None:
            return TOMBSTONE
        if len(value) > self._max_bytes:
            return too_large(self._max_bytes)
        return value

"""What the fuzzer makes, and what must become of it."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


class Fate(NamedTuple):
    """How a record must end.

    Args:
        outputs: Values that must be in the output topic, each exactly once.
        code: Its ``headrace-error`` in the dead-letter topic; ``None`` if it must not be there.
    """

    outputs: tuple[Any, ...] = ()
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One record and its fate.

    Args:
        kind: Name of the rule that made it, for the reader of a report.
        key: Its key.
        value: Its value.
        headers: Its headers.
        timestamp_ms: Its stamp.
        fate: How it must end.
    """

    kind: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int = 0
    fate: Fate


class Damage(Enum):
    """What is done to a stored batch behind the broker's back."""

    CHECKSUM = "checksum"
    CODEC = "codec"
    COUNT = "count"
    LAST_OFFSET = "last offset"
    LENGTH = "length"
    HEADER_NAME = "header name"
    PAYLOAD = "payload"
    SCRAMBLED = "scrambled"
    BOMB = "bomb"


@dataclass(slots=True, kw_only=True)
class Batch:
    """Records that are stored together.

    Args:
        partition: Where.
        first_offset: Offset of the first one.
        codec: Compression, as the client numbers it.
        cases: The records.
        damage: What is done to it afterwards; its records have no fate then, the batch has.
    """

    partition: int
    first_offset: int
    codec: int
    cases: list[Case] = field(default_factory=list)
    damage: Damage | None = None

    @property
    def next_offset(self) -> int:
        """One past the last record."""
        return self.first_offset + len(self.cases)

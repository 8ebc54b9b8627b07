"""What a normalizer is, and the values that it gives besides plain data."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, final

from service.events import Failure, Headers, Record


@final
class Tombstone:
    """The type of :data:`TOMBSTONE`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "TOMBSTONE"


TOMBSTONE: Final = Tombstone()
"""What a record with a null value becomes."""


@final
class Normalized:
    """Data together with what the envelope around it said.

    Attributes:
        data: The event's data.
        type: Becomes ``Event.type``.
        headers: To append to the record's own; the attributes of a structured CloudEvent come
            this way, so that a handler finds them where those of a binary one are.
    """

    __slots__ = ("data", "headers", "type")

    def __init__(self, data: Any, type: str, headers: Headers = ()) -> None:  # noqa: A002 -- CloudEvents' own name for it
        self.data = data
        self.type = type
        self.headers = headers

    def __repr__(self) -> str:
        return f"Normalized({self.data!r}, type={self.type!r})"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one value may cost.

    Args:
        max_value_bytes: Largest value that is parsed, in bytes; a larger one is ``too_large``.
        max_depth: Deepest nesting of objects and arrays; the outermost one counts.
    """

    max_value_bytes: int = 262_144
    max_depth: int = 64


DEFAULT_LIMITS: Final = Limits()


class Normalizer(Protocol):
    """Turns records into data."""

    @property
    def name(self) -> str:
        """The name that configuration uses."""
        ...

    def decode_many(self, records: Sequence[Record]) -> list[Any]:
        """One entry per record, in order; never raises.

        An entry is the record's data, a :class:`~service.events.Failure` (``decode``,
        ``schema``, ``version`` or ``too_large``), :data:`TOMBSTONE` for a null value, or a
        :class:`Normalized`.
        """
        ...


def refused(code: str, detail: str) -> Failure:
    """A failure of this stage; ``detail`` must not repeat the value."""
    return Failure(code, detail, stage="normalize")


def too_large(max_bytes: int) -> Failure:
    """The failure of a value that is larger than ``max_bytes``."""
    return refused("too_large", f"the value is larger than {max_bytes} bytes")

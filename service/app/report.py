"""What was left when the process ended."""

import os
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class ExitReport:
    """The outcome of a drain.

    Attributes:
        drained: Everything that had begun is done, published and committed.
        gave_up: No broker answered by the start deadline.
        took_s: From the request to the end.
        done: Records whose every effect was durable, over the process's life.
        parked: Records that waited for a retry and were left to the next owner.
        abandoned: Partitions in which something had begun and did not end: their lowest record
            that is left, as ``topic/partition/offset``.
        returned: Records that were read from Kafka and are left there, not begun for the most part.
        unpublished: Results that the broker has not acknowledged.
        uncommitted: Partitions whose last position is not committed.
    """

    drained: bool = True
    gave_up: bool = False
    took_s: float = 0.0
    done: int = 0
    parked: int = 0
    abandoned: list[str] = field(default_factory=list[str])
    returned: int = 0
    unpublished: int = 0
    uncommitted: list[str] = field(default_factory=list[str])

    @property
    def exit_code(self) -> int:
        """0 when everything is drained, else 75: the next start goes on where this one ended."""
        return os.EX_OK if self.drained else os.EX_TEMPFAIL

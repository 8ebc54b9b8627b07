"""What the changelog of a table lacks, as records of this moment, and who is told of them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog

from service.clock import wall_clock_ms
from service.errors import OutputTooLargeError
from service.publishers.base import Row
from service.publishers.runs import Entry, Run
from service.state.keyed import PartitionId
from service.state.records import key_prefix
from service.state.store import LoggedState
from service.state.table import Table

log = structlog.get_logger(__name__)


class Changes(NamedTuple):
    """The changes of one table.

    Attributes:
        topic: Its changelog.
        partition: Where in it they belong.
        rows: The records; without a value where the key is gone.
    """

    topic: str
    partition: int
    rows: list[Row]


def take_changes(
    state: LoggedState,
    place: PartitionId,
    table: Table,
    undecided: Mapping[str, Any],
    *,
    topic: str,
    limit: int,
    handler: str,
) -> Changes:
    """What the changelog of ``table`` lacks; from now on it counts as written.

    A value that cannot be made durable is forgotten, here and in the changelog: the one that is
    there is older, and nobody is to be given it back.

    Args:
        state: Whose table it is.
        place: The input partition.
        table: The table.
        undecided: Keys that a call still under way has changed, with the values to write instead.
        topic: Its changelog.
        limit: Most bytes of key and value that the topic takes.
        handler: The handler's name, for the log.
    """
    prefix = key_prefix(place[0])
    serialize = state.serde.serialize
    now_ms = wall_clock_ms()  # once: the client would ask for the time of each
    keys = table.take_dirty()
    rows: list[Row] = []

    def drop(key: str, **why: object) -> None:
        log.error(
            "state value dropped", handler=handler, state=state.name, limit_bytes=limit, **why
        )
        table.delete(key)

    for key, present in zip(keys, table.peek_many(keys), strict=True):
        value = undecided.get(key, present)
        name = prefix + key.encode()
        stored: bytes | None = None
        if value is not None:
            try:
                stored = serialize(value)
            except TypeError as exc:
                drop(key, reason="it is no JSON", error=str(exc))
            else:
                if len(name) + len(stored) > limit:
                    drop(key, reason="larger than its changelog takes", size_bytes=len(stored))
                    stored = None
        rows.append((now_ms, name, stored, []))
    return Changes(topic, place[1], rows)


class Settled(NamedTuple):
    """Owns the changes of one table in a transaction."""

    table: Table

    def stored(self, topic: str, runs: Sequence[Run], count: int, *, since_s: float) -> None:
        """The transaction is committed."""
        del topic, runs, since_s
        self.table.unsettled -= count

    def failed(self) -> None:
        """Never called: a transaction fails as a whole."""

    def lost(self, run: Run) -> None:
        """Never called: a transaction fails as a whole."""

    def refused(self, entry: Entry, reason: str) -> None:
        """Never called: a transaction fails as a whole.

        Raises:
            OutputTooLargeError: Always.
        """
        raise OutputTooLargeError(f"the changelog refuses {entry.key!r}: {reason}")

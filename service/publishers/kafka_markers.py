"""How long a transaction waits for the end of the one before it.

The broker answers the commit of a transaction before its markers are written, and refuses the
next one until they are: some milliseconds.  The client then waits 20 ms, and 100 ms where a
transaction begins with offsets instead of records, as one does whose input had no output.  Where
suspects run one by one, with a transaction each, that is most of their time.

Uses the private names in :data:`PRIVATE_NAMES`, pinned by a test; without them the client waits
as long as it always did.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import CoordinationType
from aiokafka.errors import ConcurrentTransactions
from aiokafka.producer.sender import AddOffsetsToTxnHandler, AddPartitionsToTxnHandler

PRIVATE_NAMES: Final = {
    "AIOKafkaProducer": ("_sender",),
    "Sender": (
        "_do_add_offsets_to_txn",
        "_do_add_partitions_to_txn",
        "_find_coordinator",
        "_txn_manager",
    ),
}
"""What is used of the client beyond its public names, by class."""

MARKER_WAIT_S: Final = 0.004
"""Wait before a transaction is begun again that was refused because of the one before."""


def wait_briefly_for_markers(producer: AIOKafkaProducer) -> None:
    """Make ``producer``, a transactional one that has started, ask again sooner."""
    sender: Any = getattr(producer, "_sender", None)
    if all(hasattr(sender, name) for name in PRIVATE_NAMES["Sender"]):
        sender._do_add_offsets_to_txn = _asking(sender, AddOffsets)  # noqa: SLF001 -- as above
        sender._do_add_partitions_to_txn = _asking(sender, AddPartitions)  # noqa: SLF001


def _asking(sender: Any, handler: Callable[[Any, Any], Any]) -> Callable[[Any], Awaitable[bool]]:
    async def ask(what: Any) -> bool:
        node = await sender._find_coordinator(  # noqa: SLF001 -- see the module's docstring
            CoordinationType.TRANSACTION,
            sender._txn_manager.transactional_id,  # noqa: SLF001
        )
        done: bool = await handler(sender, what).do(node)
        return done

    return ask


class AddOffsets(AddOffsetsToTxnHandler):  # type: ignore[misc]
    """Adds a group's offsets to a transaction."""

    def handle_response(self, resp: Any) -> float | None:
        """Seconds to wait before asking again; ``None`` when it is done."""
        wait_s: float | None = super().handle_response(resp)
        return MARKER_WAIT_S if resp.error_code == ConcurrentTransactions.errno else wait_s


class AddPartitions(AddPartitionsToTxnHandler):  # type: ignore[misc]
    """Adds output partitions to a transaction."""

    def handle_response(self, resp: Any) -> float | None:
        """Seconds to wait before asking again; ``None`` when it is done."""
        wait_s: float | None = super().handle_response(resp)
        codes = {code for _, partitions in resp.errors for _, code in partitions}
        return MARKER_WAIT_S if ConcurrentTransactions.errno in codes else wait_s

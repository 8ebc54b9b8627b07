"""A transaction asks again soon for what only waits for the end of the one before."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import ConcurrentTransactions, CoordinatorLoadInProgressError
from aiokafka.structs import TopicPartition

from service.publishers.kafka_markers import (
    MARKER_WAIT_S,
    AddOffsets,
    AddPartitions,
    wait_briefly_for_markers,
)

BACKOFF_S = 0.1
TARGET = TopicPartition("alerts", 0)


class Transaction:
    """As much of the client's transaction manager as the handlers ask for."""

    transactional_id = "group-logs-0"
    txn_partitions = frozenset[TopicPartition]()

    def __init__(self) -> None:
        self.added: list[Any] = []

    def consumer_group_added(self, group: str) -> None:
        self.added.append(group)

    def partition_added(self, partition: TopicPartition) -> None:
        self.added.append(partition)


class Sender:
    """As much of the client's sender."""

    def __init__(self) -> None:
        self._retry_backoff = BACKOFF_S
        self._txn_manager = Transaction()
        self.answers: list[int] = []
        self.asked: list[str] = []
        self.client = self

    @property
    def added(self) -> list[Any]:
        return self._txn_manager.added

    async def _find_coordinator(self, kind: int, key: str) -> int:
        assert (kind, key) == (1, Transaction.transactional_id)
        return 3

    async def _do_add_offsets_to_txn(self, group: str) -> bool:
        raise AssertionError(group)

    async def _do_add_partitions_to_txn(self, partitions: Any) -> bool:
        raise AssertionError(partitions)


@pytest.mark.parametrize(
    ("code", "wait_s"),
    [
        pytest.param(0, None, id="added"),
        pytest.param(ConcurrentTransactions.errno, MARKER_WAIT_S, id="markers-missing"),
        pytest.param(CoordinatorLoadInProgressError.errno, BACKOFF_S, id="coordinator-loading"),
    ],
)
def test_only_the_wait_for_markers_is_short(code: int, wait_s: float | None) -> None:
    sender = Sender()

    offsets = AddOffsets(sender, "group").handle_response(SimpleNamespace(error_code=code))
    partitions = AddPartitions(sender, {TARGET}).handle_response(
        SimpleNamespace(errors=[("alerts", [(0, code)])])
    )

    assert (offsets, partitions) == (wait_s, wait_s)
    assert sender.added == ([] if code else ["group", TARGET])


async def test_both_first_calls_of_a_transaction_go_through_the_quick_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sender = Sender()
    asked: list[tuple[str, int]] = []

    async def do(handler: Any, node: int) -> bool:
        asked.append((type(handler).__name__, node))
        return True

    monkeypatch.setattr(AddOffsets, "do", do)
    monkeypatch.setattr(AddPartitions, "do", do)
    wait_briefly_for_markers(SimpleNamespace(_sender=sender))

    assert await sender._do_add_offsets_to_txn("group")
    assert await sender._do_add_partitions_to_txn({TARGET})
    assert asked == [("AddOffsets", 3), ("AddPartitions", 3)]


def test_a_client_without_these_names_keeps_its_own_way() -> None:
    sender = SimpleNamespace(_retry_backoff=BACKOFF_S)

    wait_briefly_for_markers(SimpleNamespace(_sender=sender))

    assert vars(sender) == {"_retry_backoff": BACKOFF_S}

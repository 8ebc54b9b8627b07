"""What the client would hide: an error in a callback of a rebalance."""

from types import SimpleNamespace
from typing import Any

from structlog.testing import capture_logs

from service.consumers.base import TopicPartition
from service.consumers.kafka_assignment import Assignment


async def test_an_error_in_a_revoke_is_logged_as_ours_and_reaches_no_client() -> None:
    def broken() -> bool:
        raise RuntimeError("a mistake of ours")

    partition = TopicPartition("logs", 0)
    member: Any = SimpleNamespace(
        opening=None, held={}, assigned=set(), client=object(), lease_valid=broken
    )
    committer: Any = None

    with capture_logs() as logs:
        await Assignment(member, committer).on_revoked([partition])

    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("revoke failed", "error")]

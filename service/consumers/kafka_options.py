"""What the parts of the Kafka source are told beyond their client: policies and deadlines."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSourceOptions:
    """What a Kafka source needs to know beyond its client.

    Attributes:
        start: Where to begin without a committed offset.
        out_of_range: What to do when the committed offset is no longer in the log.
        undecodable: What to do with a stored batch that cannot be decoded.
        commit_interval_s: Time between commits.
        commit_records: Commit earlier once this many records are done.
        revoke_timeout_s: Longest wait for work in flight when partitions are revoked; below the
            group's rebalance timeout.
        session_timeout_s: The group's session timeout, for the lease.
        delay_s: Its topics are delay topics: records wait until they are due, at most so long.
    """

    start: Literal["earliest", "latest"] = "earliest"
    out_of_range: Literal["earliest", "latest", "halt"] = "earliest"
    undecodable: Literal["skip", "halt"] = "skip"
    commit_interval_s: float = 0.1
    commit_records: int = 500
    revoke_timeout_s: float = 15.0
    session_timeout_s: float = 30.0
    delay_s: float | None = None

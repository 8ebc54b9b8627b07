"""Why a partition's commit does not move: one cause, worked out from facts.

Pure: no clock, no client, no event loop.  The caller says how long each thing has lasted; the
answer names the record in the way and what it waits for.  When several things are wrong at
once, the one that must be repaired first wins: no handler can help a broker that is gone.
"""

from dataclasses import dataclass
from enum import StrEnum

from service.metrics import Blocking, Cause

HELD_S = 5.0
"""What lasts longer than this holds the commit.

Half of the ten seconds within which a stall is to be named, which leaves the other half for the
snapshot, the scrape and the reader.
"""

KEY_MAX_CHARS = 256
"""Keys are shown up to this length; they are payload, and can be anything."""


class RecordState(StrEnum):
    """Where a record is between its fetch and its acknowledgement."""

    WAITING = "waiting"
    """In the channel, in its lane or for a free slot of its handler."""
    RUNNING = "running"
    """In its handler."""
    PARKED = "parked"
    """Failed, and waiting for its next attempt."""
    PUBLISHING = "publishing"
    """Handled; its outputs or its dead letter are not acknowledged yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFacts:
    """The record of a partition with the lowest offset that is not done.

    Args:
        offset: Its offset.
        age_s: Time since it was fetched.
        state: Where it is.
        state_s: For how long it has been there; ``age_s`` when that is not known.
        key: Its key bytes.
        handler: The handler it is in or was last in.
        attempts: How often a handler was started on it.
    """

    offset: int
    age_s: float
    state: RecordState
    state_s: float
    key: bytes | None = None
    handler: str | None = None
    attempts: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """What is known of one partition; every duration in seconds, 0 when it is not the case.

    Args:
        oldest: The lowest record that is not done.
        broker_silent_s: Since when no broker has answered anything.
        publish_pending_s: Age of the oldest produce request of the pipeline without an answer.
        commit_failing_s: Since when commits fail.
        intake_blocked_s: Since when fetched records wait for room in the channel.
        rebalancing_s: Since when the group has been handing out partitions.
        restoring_s: Since when its state is being restored, with success or not.
        paused: Intake is paused on purpose.
        forbidden: The topic may not be read.
    """

    oldest: RecordFacts | None = None
    broker_silent_s: float = 0.0
    publish_pending_s: float = 0.0
    commit_failing_s: float = 0.0
    intake_blocked_s: float = 0.0
    rebalancing_s: float = 0.0
    restoring_s: float = 0.0
    paused: bool = False
    forbidden: bool = False


def blocking(facts: PartitionFacts) -> Blocking | None:
    """What holds the partition's commit back, or ``None`` while nothing does."""
    oldest = facts.oldest
    held = oldest is not None and oldest.age_s > HELD_S
    cause = _of_the_group_or_broker(facts)
    if cause is None and oldest is not None and held:
        cause = _of_the_record(oldest, facts)
    if cause is None and not held:
        cause = _of_the_intake(facts)
    if cause is None:
        return None
    if oldest is None:
        return Blocking(cause=cause)
    return Blocking(
        cause=cause,
        offset=oldest.offset,
        key=_shown(oldest.key),
        handler=oldest.handler,
        attempts=oldest.attempts,
    )


def _of_the_group_or_broker(facts: PartitionFacts) -> Cause | None:
    """Causes that hold every record, whatever state it is in."""
    oldest = facts.oldest
    if facts.broker_silent_s > HELD_S:
        return Cause.BROKER
    if facts.rebalancing_s > HELD_S:
        if oldest is not None and oldest.state is RecordState.RUNNING:
            # A handler that was busy before the rebalance began is what the revocation waits for.
            return Cause.SLOW_HANDLER if oldest.state_s > facts.rebalancing_s else Cause.REBALANCE
        return Cause.REBALANCE
    if facts.forbidden:  # which has a share in commits that fail
        return Cause.FORBIDDEN
    if facts.commit_failing_s > HELD_S:
        return Cause.BROKER
    return None


def _of_the_record(oldest: RecordFacts, facts: PartitionFacts) -> Cause:
    """What the oldest record waits for, given that it has been here for too long.

    What took most of its time is to blame: a record that has only just begun to run after a long
    wait was held up by those before it.
    """
    mostly_here = 2 * oldest.state_s >= oldest.age_s
    match oldest.state:
        case RecordState.PARKED:
            return Cause.RETRY
        case RecordState.RUNNING if mostly_here:
            return Cause.SLOW_HANDLER
        case RecordState.RUNNING if oldest.attempts > 1:
            return Cause.RETRY
        case RecordState.PUBLISHING if mostly_here:
            return Cause.BROKER
        case _ if 2 * facts.publish_pending_s >= oldest.age_s:
            # Every slot ahead of it is taken by outputs that the broker does not acknowledge.
            return Cause.BROKER
        case _:
            return Cause.BACKPRESSURE


def _of_the_intake(facts: PartitionFacts) -> Cause | None:
    """Why nothing comes in, given that nothing old is here."""
    if facts.restoring_s > HELD_S:
        return Cause.STATE
    if facts.publish_pending_s > HELD_S:
        return Cause.BROKER
    if facts.paused:
        # Whatever the lag says: out of the log's range, it may well be zero or unknown.
        return Cause.PAUSED
    if facts.intake_blocked_s > HELD_S:
        return Cause.BACKPRESSURE
    return None


def _shown(key: bytes | None) -> str | None:
    if key is None:
        return None
    # Cut before decoding: a key can be megabytes, and this runs in the event loop.
    return key[:KEY_MAX_CHARS].decode("utf-8", "backslashreplace")[:KEY_MAX_CHARS]

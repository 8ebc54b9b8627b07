"""What answers of a group's coordinator mean, where the client overlooks or overdoes it."""

from typing import Any

from aiokafka.errors import (
    CommitFailedError,
    IllegalGenerationError,
    NotCoordinatorForGroupError,
    UnknownMemberIdError,
    for_code,
)


def keep_member(coordinator: Any, answer: Any) -> None:
    """Leave a refused generation, but not the membership, which the client forgets with it.

    It would join as somebody else, and the group wait for who it was: until its session ends, or
    for ever where the broker ends none during a rebalance.  Kafka's own client keeps its name
    too; a group that does not know it says so, and then it is forgotten.

    Raises:
        CommitFailedError: If the group is in another generation.
    """
    codes = {code for _, partitions in answer.topics for _, code in partitions}
    if IllegalGenerationError.errno not in codes or UnknownMemberIdError.errno in codes:
        return
    member_id = coordinator.member_id
    coordinator.reset_generation()
    coordinator.member_id = member_id
    raise CommitFailedError("the group has moved on")


def refuse_unanswered(coordinator: Any, answer: Any) -> None:
    """Raise what an answer about committed offsets says as a whole, which the client overlooks.

    A coordinator that is not there yet, as after a restart of its broker, answers with one error
    for everything and lists no partition.  The client takes that for a group that has never
    committed, and reading would begin anew at the start or, worse, at the end.

    Raises:
        KafkaError: What it says; the client asks again if that can help.
    """
    code: int = getattr(answer, "error_code", 0)
    if not code:
        return
    error = for_code(code)
    if error is NotCoordinatorForGroupError:
        coordinator.coordinator_dead()
    raise error("the group's offsets are not known yet")

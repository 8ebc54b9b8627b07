from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CommitFailedError

from service.consumers.kafka_answers import keep_member

OK, ILLEGAL_GENERATION, UNKNOWN_MEMBER = 0, 22, 25


class _Coordinator:
    """What the client does when a group does not know it."""

    member_id = "me"
    generation = 3

    def reset_generation(self) -> None:
        self.member_id, self.generation = "", -1


def _answer(*codes: int) -> Any:
    return SimpleNamespace(topics=[("t", list(enumerate(codes)))])


def test_a_member_of_another_generation_keeps_its_name() -> None:
    coordinator = _Coordinator()

    with pytest.raises(CommitFailedError):
        keep_member(coordinator, _answer(OK, ILLEGAL_GENERATION))

    assert (coordinator.member_id, coordinator.generation) == ("me", -1)


@pytest.mark.parametrize("codes", [[OK], [], [ILLEGAL_GENERATION, UNKNOWN_MEMBER]])
def test_any_other_answer_is_left_to_the_client(codes: list[int]) -> None:
    coordinator = _Coordinator()

    keep_member(coordinator, _answer(*codes))

    assert (coordinator.member_id, coordinator.generation) == ("me", 3)

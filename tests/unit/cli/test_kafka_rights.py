"""What brokers answer about rights, in their own bytes, and what is made of it."""

from io import BytesIO
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, UnknownTopicOrPartitionError
from aiokafka.protocol.admin import DescribeGroupsResponse_v3

from service.cli import kafka_rights
from service.cli.kafka_rights import Right, RightsTools
from service.settings import build_settings

TOPICS, GROUPS = 3, 15
NOT_TOLD = -(2**31)
READ, WRITE, DESCRIBE = 1 << 3, 1 << 4, 1 << 8


class Broker:
    """Answers one question with what it is given, if it knows the question's version."""

    def __init__(self, answer: Any, newest: int) -> None:
        self._answer, self._newest = answer, newest
        self.asked: Any = None

    async def find_coordinator(self, group: str) -> int:
        assert group == "workers"
        return 1

    async def _send_request(self, question: Any, node: int | None) -> Any:
        assert node == (1 if question.API_KEY == GROUPS else None)
        self.asked = question.prepare({question.API_KEY: (0, self._newest)})
        return self.asked.RESPONSE_TYPE.decode(BytesIO(self._answer.encode()))


def tools(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> RightsTools:
    async def admin_client() -> Broker:
        return broker

    made = RightsTools(build_settings({}).kafka)
    monkeypatch.setattr(made, "admin_client", admin_client)
    return made


def of_topics(**operations: tuple[int, int]) -> Any:
    topics: list[Any] = [
        (error, name, False, [], bits) for name, (error, bits) in operations.items()
    ]
    return kafka_rights._TopicsAnswer(0, [(1, "kafka", 9092, None)], "id", 1, topics, NOT_TOLD)


def of_group(error: int, bits: int) -> Any:
    return DescribeGroupsResponse_v3(0, [(error, "workers", "Dead", "", "", [], bits)])


async def test_topics_have_the_rights_that_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = UnknownTopicOrPartitionError.errno
    broker = Broker(
        of_topics(
            both=(0, READ | WRITE | DESCRIBE),
            one=(0, WRITE | DESCRIBE),
            none=(0, DESCRIBE),
            silent=(0, NOT_TOLD),
            gone=(gone, NOT_TOLD),
        ),
        newest=13,
    )
    names = ["both", "one", "none", "silent", "gone"]

    rights = await tools(monkeypatch, broker).topic_rights(names)

    assert rights == {
        "both": frozenset(Right),
        "one": frozenset({Right.WRITE}),
        "none": frozenset(),
    }
    assert broker.asked.topics == names
    assert not broker.asked.allow_auto_topic_creation
    assert broker.asked.include_topic_authorized_operations


async def test_a_broker_before_2_3_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await tools(monkeypatch, Broker(None, newest=7)).topic_rights(["logs"]) == {}
    assert await tools(monkeypatch, Broker(None, newest=2)).group_rights("workers") is None


@pytest.mark.parametrize(
    ("error", "bits", "rights"),
    [
        (0, READ | DESCRIBE, {Right.READ}),
        (0, DESCRIBE, set()),
        (0, NOT_TOLD, None),
        (GroupAuthorizationFailedError.errno, NOT_TOLD, set()),
        (-1, NOT_TOLD, None),
    ],
)
async def test_a_group_has_the_rights_that_are_told(
    monkeypatch: pytest.MonkeyPatch, error: int, bits: int, rights: set[Right] | None
) -> None:
    broker = Broker(of_group(error, bits), newest=5)

    assert await tools(monkeypatch, broker).group_rights("workers") == rights


async def test_a_group_that_may_not_be_looked_for_gives_no_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Broker(None, newest=5)

    async def refuse(group: str) -> int:
        raise GroupAuthorizationFailedError(group)

    monkeypatch.setattr(broker, "find_coordinator", refuse)

    assert await tools(monkeypatch, broker).group_rights("workers") == frozenset()

"""What this user may do with topics and groups, as the brokers themselves tell it (KIP-430).

Brokers since 2.3 add it to two answers, if they are asked to: metadata and the description of a
group.  The client does not know the first and reads the second in an older form, so both are
defined here.  Nothing is written, no group is joined, and without an authorizer all is allowed.
"""

from collections.abc import Iterable, Mapping
from enum import IntEnum
from typing import Any, Final, TypeAlias

from aiokafka.errors import GroupAuthorizationFailedError, IncompatibleBrokerVersion, KafkaError
from aiokafka.protocol.admin import DescribeGroupsRequest_v3, DescribeGroupsResponse_v3
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int16, Int32, Schema, String

from service.cli.kafka_clients import AccessDeniedError, KafkaClients, deadline, refusal
from service.cli.kafka_groups import once_started

PRIVATE_NAMES: Final = {"AIOKafkaAdminClient": ("_send_request",)}
"""What is used of the client beyond its public names; a test pins it."""

_NOT_TOLD: Final = -(2**31)
# The client's own, where it and the broker have no version of a question in common.
_TOO_OLD: Final = (IncompatibleBrokerVersion, NotImplementedError)


class Right(IntEnum):
    """An operation of Kafka's access control, by its number there."""

    READ = 3
    WRITE = 4


Rights: TypeAlias = frozenset[Right]


class _TopicsAnswer(Response):  # type: ignore[misc]  # the client has no types
    API_KEY = 3  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    API_VERSION = 8  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            Array(
                ("node_id", Int32),
                ("host", String("utf-8")),
                ("port", Int32),
                ("rack", String("utf-8")),
            ),
        ),
        ("cluster_id", String("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            Array(
                ("error_code", Int16),
                ("topic", String("utf-8")),
                ("is_internal", Boolean),
                (
                    "partitions",
                    Array(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", Array(Int32)),
                        ("in_sync_replicas", Array(Int32)),
                        ("offline_replicas", Array(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
    )


class _TopicsQuestion(RequestStruct):  # type: ignore[misc]  # as above
    API_KEY = 3
    API_VERSION = 8
    RESPONSE_TYPE = _TopicsAnswer
    SCHEMA = Schema(
        ("topics", Array(String("utf-8"))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
    )


class _AskOfTopics(Request[_TopicsQuestion]):  # type: ignore[misc]  # as above
    API_KEY = 3

    def __init__(self, topics: list[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicsQuestion]) -> _TopicsQuestion:
        return request_struct_class(self._topics, False, False, True)  # noqa: FBT003 -- by place


class _GroupQuestion(DescribeGroupsRequest_v3):  # type: ignore[misc]  # as above
    API_KEY = 15
    API_VERSION = 3
    RESPONSE_TYPE = DescribeGroupsResponse_v3  # the client's own has that of version 2
    SCHEMA = DescribeGroupsRequest_v3.SCHEMA


class _AskOfGroup(Request[_GroupQuestion]):  # type: ignore[misc]  # as above
    API_KEY = 15

    def __init__(self, group: str) -> None:
        self._group = group

    def build(self, request_struct_class: type[_GroupQuestion]) -> _GroupQuestion:
        return request_struct_class([self._group], True)  # noqa: FBT003 -- by place


class RightsTools(KafkaClients):
    """What this user may do."""

    async def topic_rights(self, topics: Iterable[str]) -> Mapping[str, Rights]:
        """What may be done with each of ``topics``; without those of which no broker tells."""
        answer = await self._answer(_AskOfTopics(list(topics)), None, "rights on topics")
        if answer is None:
            return {}
        told = {described[1]: described[-1] for described in answer.topics if not described[0]}
        return {topic: _rights(bits) for topic, bits in told.items() if bits != _NOT_TOLD}

    async def group_rights(self, group: str) -> Rights | None:
        """What may be done with ``group``, which need not exist; ``None`` if no broker tells."""
        admin = await self.admin_client()
        try:
            node = await once_started(group, lambda: admin.find_coordinator(group), "READ")
        except AccessDeniedError:
            return frozenset()
        answer = await self._answer(_AskOfGroup(group), node, f"rights on group {group}")
        if answer is None:
            return None
        ((code, *_, bits),) = answer.groups
        if code == GroupAuthorizationFailedError.errno:
            return frozenset()
        return None if code or bits == _NOT_TOLD else _rights(bits)

    async def _answer(self, question: Any, node: Any, what: str) -> Any:
        """The answer to ``question``; ``None`` if the broker is too old to be asked."""
        admin = await self.admin_client()
        try:
            async with deadline(f"{what} were not answered"):
                return await admin._send_request(question, node)  # noqa: SLF001 -- see PRIVATE_NAMES
        except _TOO_OLD:
            return None
        except KafkaError as error:
            raise refusal(error, what) from error


def _rights(bits: int) -> Rights:
    return frozenset(right for right in Right if bits >> right & 1)

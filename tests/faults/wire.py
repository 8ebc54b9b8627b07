"""Kafka's framing: as much of it as a proxy needs to lose a reply or to answer in its place.

A frame is four bytes of length and that many bytes; a request begins with its API, the API's
version and a correlation id, which its reply repeats.  Bodies are read and written only where
the proxy answers by itself, with the request and reply layouts of the client library.
"""

import asyncio
import struct
from dataclasses import dataclass
from enum import IntEnum
from io import BytesIO
from typing import Any

from aiokafka.protocol.api import RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest
from aiokafka.protocol.group import HeartbeatRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

_LENGTH = struct.Struct(">i")
_REQUEST = struct.Struct(">hhi")
_NAME = struct.Struct(">h")  # the client's name follows, -1 for none


class Api(IntEnum):
    """The calls that faults are aimed at."""

    PRODUCE = 0
    FETCH = 1
    METADATA = 3
    OFFSET_COMMIT = 8
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


_LAYOUTS: dict[tuple[int, int], type[RequestStruct]] = {
    (layout.API_KEY, layout.API_VERSION): layout
    for call in (
        ProduceRequest,
        OffsetCommitRequest,
        HeartbeatRequest,
        InitProducerIdRequest,
        AddPartitionsToTxnRequest,
        AddOffsetsToTxnRequest,
        EndTxnRequest,
        TxnOffsetCommitRequest,
    )
    for layout in call._CLASSES
}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request frame says of itself."""

    api: int
    version: int
    correlation_id: int


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame, without its length.

    Raises:
        IncompleteReadError: At the end of the connection.
    """
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    return await reader.readexactly(length)


def framed(body: bytes) -> bytes:
    """``body`` with its length in front."""
    return _LENGTH.pack(len(body)) + body


def asked(frame: bytes) -> Asked:
    """The head of a request frame."""
    return Asked(*_REQUEST.unpack_from(frame))


def refusal(frame: bytes, code: int) -> bytes:
    """The reply to a request that fails with ``code``, for every topic and partition in it.

    Raises:
        KeyError: If there is no layout for the request's API and version.
    """
    head = asked(frame)
    layout = _LAYOUTS[head.api, head.version]
    (name_bytes,) = _NAME.unpack_from(frame, _REQUEST.size)
    body = frame[_REQUEST.size + _NAME.size + max(0, name_bytes) :]
    fields = layout.decode(BytesIO(body)).to_object()
    reply = layout.RESPONSE_TYPE(*_failed(head, fields, code))
    return struct.pack(">i", head.correlation_id) + bytes(reply.encode())


def _failed(head: Asked, fields: dict[str, Any], code: int) -> list[Any]:
    """The fields of the reply, in order."""
    throttle_ms = 0
    match head.api:
        case Api.HEARTBEAT:
            return [code] if head.version == 0 else [throttle_ms, code]
        case Api.ADD_OFFSETS_TO_TXN | Api.END_TXN:
            return [throttle_ms, code]
        case Api.INIT_PRODUCER_ID:
            return [throttle_ms, code, -1, -1]
        case Api.OFFSET_COMMIT | Api.TXN_OFFSET_COMMIT | Api.ADD_PARTITIONS_TO_TXN:
            topics = [
                (each["topic"], [(_number(at), code) for at in each["partitions"]])
                for each in fields["topics"]
            ]
            return [topics] if (head.api, head.version) == (8, 2) else [throttle_ms, topics]
        case _:
            return [
                [
                    (
                        each["topic"],
                        [
                            _produced(at["partition"], code, head.version)
                            for at in each["partitions"]
                        ],
                    )
                    for each in fields["topics"]
                ],
                throttle_ms,
            ]


def _number(partition: Any) -> Any:
    return partition["partition"] if isinstance(partition, dict) else partition


def _produced(partition: int, code: int, version: int) -> tuple[Any, ...]:
    answer: tuple[Any, ...] = (partition, code, -1, -1)
    if version >= 5:
        answer += (-1,)
    if version >= 8:
        answer += ([], None)
    return answer

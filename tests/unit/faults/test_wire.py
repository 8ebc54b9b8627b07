"""The proxy's replies are what the client library reads as the error it was told to give."""

import asyncio
import struct
from io import BytesIO

import pytest
from aiokafka.protocol.api import RequestHeader_v1, RequestStruct
from aiokafka.protocol.commit import OffsetCommitRequest_v3
from aiokafka.protocol.group import HeartbeatRequest_v1
from aiokafka.protocol.produce import ProduceRequest_v7
from aiokafka.protocol.transaction import (
    AddPartitionsToTxnRequest_v0,
    EndTxnRequest_v0,
    InitProducerIdRequest_v0,
    TxnOffsetCommitRequest_v0,
)

from tests.faults.wire import Asked, asked, framed, read_frame, refusal


def frame_of(request: RequestStruct, correlation_id: int = 77) -> bytes:
    header = RequestHeader_v1(request, correlation_id=correlation_id, client_id="somebody")
    return bytes(header.encode() + request.encode())


@pytest.mark.parametrize(
    ("request_", "code_in"),
    [
        (HeartbeatRequest_v1("g", 3, "m"), lambda reply: reply.error_code),
        (EndTxnRequest_v0("t", 1, 2, True), lambda reply: reply.error_code),  # noqa: FBT003
        (InitProducerIdRequest_v0("t", 1000), lambda reply: reply.error_code),
        (
            AddPartitionsToTxnRequest_v0("t", 1, 2, [("out", [4])]),
            lambda reply: reply.errors[0][1][0][1],
        ),
        (
            TxnOffsetCommitRequest_v0("t", "g", 1, 2, [("in", [(4, 100, "")])]),
            lambda reply: reply.errors[0][1][0][1],
        ),
        (
            OffsetCommitRequest_v3("g", 3, "m", -1, [("in", [(4, 100, "")])]),
            lambda reply: reply.topics[0][1][0][1],
        ),
        (
            ProduceRequest_v7(None, -1, 1000, [("out", [(4, b"batch")])]),
            lambda reply: reply.topics[0][1][0][1],
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_carries_the_code_and_the_correlation_id(
    request_: RequestStruct, code_in: object
) -> None:
    reply = refusal(frame_of(request_), 27)

    body = request_.RESPONSE_TYPE.decode(BytesIO(reply[4:]))
    assert struct.unpack(">i", reply[:4]) == (77,)
    assert callable(code_in)
    assert code_in(body) == 27


def test_a_call_without_a_layout_cannot_be_refused() -> None:
    with pytest.raises(KeyError):
        refusal(struct.pack(">hhi", 999, 0, 1), 27)


def test_the_head_of_a_request_tells_api_version_and_correlation_id() -> None:
    assert asked(frame_of(HeartbeatRequest_v1("g", 3, "m"), 5)) == Asked(12, 1, 5)


async def test_a_frame_comes_out_as_it_went_in() -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(framed(b"one") + framed(b""))

    assert [await read_frame(reader), await read_frame(reader)] == [b"one", b""]

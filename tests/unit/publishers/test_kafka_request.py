"""Produce requests: the same bytes as the client's own encoding, of every version."""

import gc
import weakref
from typing import Any, get_args

import pytest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest, ProduceRequestStruct
from hypothesis import given
from hypothesis import strategies as st

from service.publishers.kafka_request import encode_at_once, encoded

VERSIONS = [struct.API_VERSION for struct in get_args(ProduceRequestStruct)]
PARTITIONS = st.lists(
    st.tuples(st.integers(0, 2**31 - 1), st.none() | st.binary(max_size=200)), max_size=4
)
TOPICS = st.lists(st.tuples(st.text(max_size=20), PARTITIONS), max_size=3)


def test_there_are_versions() -> None:
    assert len(VERSIONS) > 5


@pytest.mark.parametrize("version", VERSIONS)
@given(transaction=st.none() | st.text(max_size=20), topics=TOPICS)
def test_the_bytes_are_those_of_the_client(
    version: int, transaction: str | None, topics: list[tuple[str, list[tuple[int, bytes]]]]
) -> None:
    request = ProduceRequest(transaction if version > 2 else None, -1, 30_000, topics)
    theirs = request.prepare({ProduceRequest.API_KEY: (version, version)}).encode()

    encode_at_once(request)
    ours = request.prepare({ProduceRequest.API_KEY: (version, version)})

    assert version == ours.API_VERSION
    assert ours.encode() == theirs


def test_a_buffer_of_the_batch_builder_is_taken_as_it_is() -> None:
    request: Any = ProduceRequest(None, -1, 30_000, [("t", [(0, bytearray(b"abc"))])])
    struct = request.prepare({ProduceRequest.API_KEY: (7, 7)})
    assert encoded(struct) == struct.encode()


def test_nothing_of_it_waits_for_the_cycle_collector() -> None:
    class Topics(list[tuple[str, list[tuple[int, bytes]]]]):
        """A list whose end can be seen."""

    topics = Topics([("t", [(0, b"abc")])])
    gone = weakref.ref(topics)
    request = ProduceRequest(None, -1, 30_000, topics)
    encode_at_once(request)
    gc.disable()
    try:
        request.prepare({ProduceRequest.API_KEY: (7, 7)}).encode()
        del request, topics
        assert gone() is None
    finally:
        gc.enable()


def test_only_produce_requests_are_changed() -> None:
    request = FetchRequest(100, 1, 1 << 20, 1, [])
    encode_at_once(request)
    assert type(request) is FetchRequest


def test_requests_of_other_kinds_come_out_the_same() -> None:
    topics = [("t", [(0, 5, 1024), (1, 6, 1024)]), ("u", [])]
    request = FetchRequest(100, 1, 1 << 20, 1, topics)
    struct = request.prepare({FetchRequest.API_KEY: (4, 4)})
    assert encoded(struct) == struct.encode()


def test_parts_that_are_missing_are_an_error() -> None:
    struct = ProduceRequest(None, -1, 30_000, [("t", [(0,)])]).prepare(
        {ProduceRequest.API_KEY: (7, 7)}
    )
    with pytest.raises(ValueError, match="shorter"):
        encoded(struct)

"""The tap on real record batches, and the private names of the client that it stands on."""

import asyncio
import gc
import inspect
import struct
import weakref
from collections import OrderedDict
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as ClientPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.consumer.fetcher import (
    READ_COMMITTED,
    Fetcher,
    FetchError,
    FetchResult,
    PartitionRecords,
)
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageAccumulator, MessageBatch
from aiokafka.producer.producer import AIOKafkaProducer
from aiokafka.producer.sender import Sender, SendProduceReqHandler
from aiokafka.producer.transaction_manager import TransactionManager
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from service import pauses, whole_answers
from service.cli import kafka_rights
from service.consumers import kafka_abort_markers, kafka_changelog, kafka_client, kafka_tap
from service.consumers.base import (
    ClientFailedError,
    CorruptBatchError,
    Fetched,
    OffsetGoneError,
    TopicPartition,
    TopicsRefusedError,
)
from service.consumers.kafka_checksum import StoredBatches
from service.consumers.kafka_tap import GetmanyTap, PrefetchTap, make_tap
from service.publishers import kafka_client as producer_client
from service.publishers import kafka_gate, kafka_markers

PARTITION = ClientPartition("logs", 0)
OTHER = ClientPartition("other", 0)
OURS = TopicPartition("logs", 0)
END = 1_000
"""One past the last offset of the log."""
_CONTROL = 0x20
_MAGIC_AT, _CRC_AT, _ATTRIBUTES_AT, _LAST_OFFSET_AT, _RECORDS_AT = 16, 17, 21, 23, 61
LETTERS = [b"a", b"b", b"c", b"d"]

CLASSES: dict[str, type] = {
    "AIOKafkaAdminClient": AIOKafkaAdminClient,
    "AIOKafkaConsumer": AIOKafkaConsumer,
    "AIOKafkaClient": AIOKafkaClient,
    "AIOKafkaConnection": AIOKafkaConnection,
    "AIOKafkaProducer": AIOKafkaProducer,
    "BatchBuilder": BatchBuilder,
    "ClusterMetadata": ClusterMetadata,
    "FetchError": FetchError,
    "FetchResult": FetchResult,
    "Fetcher": Fetcher,
    "GroupCoordinator": GroupCoordinator,
    "MessageAccumulator": MessageAccumulator,
    "MessageBatch": MessageBatch,
    "PartitionRecords": PartitionRecords,
    "SendProduceReqHandler": SendProduceReqHandler,
    "Sender": Sender,
    "StreamReader": asyncio.StreamReader,
    "TransactionManager": TransactionManager,
}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(kafka_tap.PRIVATE_NAMES, id="tap"),
        pytest.param(kafka_abort_markers.PRIVATE_NAMES, id="markers"),
        pytest.param(kafka_client.PRIVATE_NAMES, id="consumer"),
        pytest.param(kafka_changelog.PRIVATE_NAMES, id="changelogs"),
        pytest.param(producer_client.PRIVATE_NAMES, id="producer"),
        pytest.param(kafka_gate.PRIVATE_NAMES, id="gate"),
        pytest.param(kafka_markers.PRIVATE_NAMES, id="transactions"),
        pytest.param(pauses.PRIVATE_NAMES, id="pauses"),
        pytest.param(whole_answers.PRIVATE_NAMES, id="answers"),
        pytest.param(kafka_rights.PRIVATE_NAMES, id="rights"),
    ],
)
def test_the_private_names_that_we_use_exist(names: dict[str, tuple[str, ...]]) -> None:
    missing = [
        f"{owner}.{name}"
        for owner, attributes in names.items()
        for name in attributes
        if not hasattr(CLASSES[owner], name)
        and f"self.{name}" not in inspect.getsource(CLASSES[owner])
    ]

    assert missing == []


def batch(
    offset: int,
    values: list[bytes],
    *,
    codec: int = 0,
    producer_id: int = -1,
    transactional: bool = False,
) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, int(transactional), producer_id, 0, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1_000, b"key", value, [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, offset)
    return bytes(data)


def control(offset: int, *, producer_id: int, abort: bool) -> bytes:
    """A transaction marker, which only brokers write."""
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer_id, 0, 0, 1 << 20)
    builder.append(0, 1_000, struct.pack(">hh", 0, 0 if abort else 1), b"", [])
    data = bytearray(builder.build())
    struct.pack_into(">q", data, 0, offset)
    (attributes,) = struct.unpack_from(">h", data, _ATTRIBUTES_AT)
    struct.pack_into(">h", data, _ATTRIBUTES_AT, attributes | _CONTROL)
    struct.pack_into(">I", data, _CRC_AT, calc_crc32c(bytes(data[_ATTRIBUTES_AT:])))
    return bytes(data)


class Client:
    """As much of a consumer as the tap looks at, around real fetch results."""

    def __init__(self) -> None:
        self.position = 0
        self.notified = 0
        self._fetcher = SimpleNamespace(
            _records=OrderedDict(),
            _wait_consume_future=None,
            _notify=self._notify,
            _create_fetch_waiter=None,
        )
        self._coordinator: Any = SimpleNamespace(check_errors=lambda: None)
        self._subscription = SimpleNamespace(
            fetch_context=nullcontext, reassignment_in_progress=False
        )

    def _notify(self, _future: object) -> None:
        self.notified += 1

    def fetched(
        self,
        *batches: bytes,
        position: int = 0,
        aborted: list[tuple[int, int]] | None = None,
        end: int = END,
    ) -> None:
        self.position = position
        records = PartitionRecords(
            PARTITION,
            StoredBatches(b"".join(batches)),
            aborted or [],
            position,
            None,
            None,
            True,  # noqa: FBT003 -- the client's own signature
            READ_COMMITTED,
        )
        state = SimpleNamespace(
            paused=False, position=position, consumed_to=self._move, highwater=end
        )
        assignment = SimpleNamespace(active=True, state_value=lambda _partition: state)
        result = FetchResult(
            PARTITION, assignment=assignment, partition_records=records, backoff=0.0
        )
        self._fetcher._records[PARTITION] = result

    def _move(self, position: int) -> None:
        self.position = position


def values_of(client: Client) -> list[bytes | None]:
    (fetched,) = PrefetchTap(client).take({OURS})
    return [record.value for stored in fetched.batches for record in stored.decode()]


AROUND = {
    0: batch(0, [b"a", b"b"]),
    2: b"",
    7: batch(7, [b"c"]),
    8: batch(8, [b"d"]),
}
"""What lies around a batch of five records."""


def read_out(fetched: list[Fetched]) -> list[bytes | tuple[int, int] | None]:
    """The values in ``fetched``, and in their place the offsets of what is damaged."""
    seen: list[bytes | tuple[int, int] | None] = []
    for stored in (stored for answer in fetched for stored in answer.batches):
        try:
            seen += [record.value for record in stored.decode()]
        except CorruptBatchError as damaged:
            seen.append((damaged.first_offset, damaged.next_offset))
    return seen


def spans_of(seen: list[bytes | tuple[int, int] | None]) -> list[tuple[int, int]]:
    return [what for what in seen if isinstance(what, tuple)]


def read_log(stored: dict[int, bytes], end: int) -> list[bytes | tuple[int, int] | None]:
    """Read a log up to ``end``, with as many answers as it takes.

    Args:
        stored: Batches by the offset where they lie, which the broker knows.
        end: One past the last offset.
    """
    client = Client()
    tap = PrefetchTap(client)
    fetched: list[Fetched] = []
    for _ in range(4 * end):
        if client.position >= end:
            break
        at = max(start for start in stored if start <= client.position)
        client.fetched(
            *(batch for start, batch in stored.items() if start >= at),
            position=client.position,
            end=end,
        )
        fetched += tap.take({OURS})
    assert client.position == end
    return read_out(fetched)


@pytest.mark.parametrize("codec", [0, 1, 2, 3, 4], ids=["none", "gzip", "snappy", "lz4", "zstd"])
def test_batches_come_out_whole_and_the_client_reads_on_behind_them(codec: int) -> None:
    client = Client()
    client.fetched(batch(5, [b"a", b"b"], codec=codec), batch(7, [b"c"], codec=codec), position=5)

    assert values_of(client) == [b"a", b"b", b"c"]
    assert client.position == 8
    assert client.notified == 1
    assert PrefetchTap(client).take({OURS}) == []


def test_what_has_arrived_is_known_without_taking_it() -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]))
    client._fetcher._records[OTHER] = FetchError(error=KafkaError("denied"), backoff=0.0)
    tap = PrefetchTap(client)

    assert set(tap.arrived()) == {OURS, TopicPartition("other", 0)}
    assert tap.take(()) == []
    assert client.notified == 0

    with pytest.raises(ClientFailedError, match="denied"):
        tap.take(set(tap.arrived()))
    tap.take(set(tap.arrived()))
    assert not tap.arrived()


@pytest.mark.parametrize("ours", [True, False], ids=["read", "thrown away"])
def test_what_was_fetched_is_freed_without_the_collector_of_cycles(*, ours: bool) -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]))
    (result,) = client._fetcher._records.values()
    if not ours:
        result._assignment.active = False
    fetched = weakref.ref(result._partition_records)
    del result
    gc.collect()
    gc.disable()
    try:
        taken = PrefetchTap(client).take({OURS})
        assert len(taken) == int(ours)
        assert fetched() is None
    finally:
        gc.enable()


def test_partitions_that_are_not_asked_for_stay_where_they_are() -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]))

    assert PrefetchTap(client).take({TopicPartition("other", 0)}) == []
    assert values_of(client) == [b"a"]


def test_a_damaged_batch_does_not_take_its_neighbours_with_it() -> None:
    damaged = bytearray(batch(2, [b"bad", b"bad"]))
    damaged[-1] ^= 0xFF

    assert read_log({0: batch(0, [b"a", b"b"]), 2: bytes(damaged), 4: batch(4, [b"c"])}, 5) == [
        b"a",
        b"b",
        (2, 4),
        b"c",
    ]


def test_what_was_only_damaged_on_its_way_is_read_again() -> None:
    client = Client()
    tap = PrefetchTap(client)
    whole = batch(2, [b"c", b"d"])
    client.fetched(batch(0, [b"a", b"b"]), whole[:-1] + b"\xff")
    (first,) = tap.take({OURS})

    client.fetched(whole, position=client.position)
    (second,) = tap.take({OURS})

    assert client.position == 4
    assert read_out([first, second]) == [b"a", b"b", b"c", b"d"]


def test_damage_in_the_first_batch_of_an_answer_gives_nothing_until_it_is_read_again() -> None:
    client = Client()
    tap = PrefetchTap(client)
    damaged = bytearray(batch(0, [b"bad"]))
    damaged[-1] ^= 0xFF
    client.fetched(bytes(damaged))

    assert tap.take({OURS}) == []
    assert client.position == 0

    client.fetched(bytes(damaged))
    assert read_out(tap.take({OURS})) == [(0, 1)]


@given(at=st.integers(_MAGIC_AT, _RECORDS_AT - 1), value=st.integers(0, 255))
@example(at=_LAST_OFFSET_AT, value=0x7F)
@example(at=_LAST_OFFSET_AT, value=0x80)
@example(at=_LAST_OFFSET_AT + 3, value=0)
@example(at=_LAST_OFFSET_AT + 3, value=9)
@example(at=_MAGIC_AT, value=0)
def test_no_damage_to_a_header_costs_the_batches_beside_it(at: int, value: int) -> None:
    damaged = bytearray(batch(2, [b"bad"] * 5))
    damaged[at] = value

    seen = read_log({**AROUND, 2: bytes(damaged)}, 9)

    assert [what for what in seen if type(what) is bytes and what != b"bad"] == LETTERS
    assert all(2 <= first < end <= 7 for first, end in spans_of(seen))


@given(delta=st.integers(-(2**31), 2**31 - 1))
@example(delta=6)
def test_a_damaged_end_of_the_log_is_left_behind_without_leaving_the_log(delta: int) -> None:
    damaged = bytearray(batch(2, [b"bad"] * 5))
    struct.pack_into(">i", damaged, _LAST_OFFSET_AT, delta)
    if delta == 4:
        damaged[-1] ^= 0xFF

    seen = read_log({0: batch(0, [b"a", b"b"]), 2: bytes(damaged)}, 7)

    spans = spans_of(seen)
    assert seen[:2] == [b"a", b"b"]
    assert [first for first, _ in spans] == [2, *(end for _, end in spans[:-1])]
    assert spans[-1][1] == 7


@given(base=st.integers(-(2**63), 2**63 - 1).filter(lambda base: not 2 < base + 5 <= 9))
def test_a_batch_that_claims_an_offset_outside_of_the_log_is_damaged(base: int) -> None:
    lost = batch(base, [b"bad"] * 5)

    seen = read_log({**AROUND, 2: lost}, 9)

    assert seen == [b"a", b"b", (2, 7), b"c", b"d"]


def test_what_follows_a_damaged_marker_is_read_with_a_fresh_list_of_aborted_transactions() -> None:
    marker = bytearray(control(1, producer_id=7, abort=True))
    marker[-1] ^= 0xFF
    client = Client()
    tap = PrefetchTap(client)
    answer = (
        batch(0, [b"aborted"], producer_id=7, transactional=True),
        bytes(marker),
        batch(2, [b"committed"], producer_id=7, transactional=True),
    )
    client.fetched(*answer, aborted=[(7, 0)])
    taken = tap.take({OURS})
    client.fetched(*answer[1:], position=client.position, aborted=[(7, 0)])
    taken += tap.take({OURS})

    client.fetched(*answer[2:], position=client.position)
    taken += tap.take({OURS})

    assert read_out(taken) == [(1, 2), b"committed"]


def test_aborted_transactions_and_markers_hold_no_records_but_cover_offsets() -> None:
    client = Client()
    client.fetched(
        batch(0, [b"aborted"], producer_id=7, transactional=True),
        batch(1, [b"committed"], producer_id=8, transactional=True),
        control(2, producer_id=7, abort=True),
        control(3, producer_id=8, abort=False),
        batch(4, [b"later"], producer_id=7, transactional=True),
        aborted=[(7, 0)],
    )

    (fetched,) = PrefetchTap(client).take({OURS})

    values = [record.value for stored in fetched.batches for record in stored.decode()]
    assert values == [b"committed", b"later"]
    assert fetched.batches[-1].next_offset == client.position == 5


def test_behind_the_last_aborted_transaction_small_batches_are_taken_as_one_again() -> None:
    client = Client()
    client.fetched(
        batch(0, [b"aborted"], producer_id=7, transactional=True),
        control(1, producer_id=7, abort=True),
        *(batch(offset, [b"committed"], producer_id=7, transactional=True) for offset in (2, 3)),
        aborted=[(7, 0)],
    )

    (fetched,) = PrefetchTap(client).take({OURS})

    assert [stored.next_offset for stored in fetched.batches] == [1, 2, 4]
    assert read_out([fetched]) == [b"committed", b"committed"]


def test_an_answer_cut_off_in_the_middle_of_a_batch_gives_what_is_whole() -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]) + batch(1, [b"b" * 1000])[:-10])

    assert values_of(client) == [b"a"]
    assert client.position == 1


def test_an_answer_that_the_client_has_cut_itself_is_read_batch_by_batch() -> None:
    client = Client()
    log = batch(0, [b"a"]) + batch(1, [b"b"])
    client.fetched(log)
    client._fetcher._records[PARTITION]._partition_records._records = MemoryRecords(log)

    (fetched,) = PrefetchTap(client).take({OURS})

    assert [stored.next_offset for stored in fetched.batches] == [1, 2]
    assert read_out([fetched]) == [b"a", b"b"]


def test_a_position_that_is_gone_is_named() -> None:
    client = Client()
    error = OffsetOutOfRangeError({PARTITION: 42})
    client._fetcher._records[PARTITION] = FetchError(error=error, backoff=0.0)

    with pytest.raises(OffsetGoneError) as caught:
        PrefetchTap(client).take({OURS})

    assert (caught.value.partition, caught.value.position) == (OURS, 42)


def test_an_error_of_one_partition_does_not_lose_what_was_fetched_for_another() -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]))
    gone = OffsetOutOfRangeError({OTHER: 42})
    client._fetcher._records[OTHER] = FetchError(error=gone, backoff=0.0)

    with pytest.raises(OffsetGoneError):
        PrefetchTap(client).take({OURS, TopicPartition("other", 0)})

    assert client.position == 0
    assert values_of(client) == [b"a"]


@pytest.mark.parametrize("codec", [0, 1], ids=["plain", "compressed"])
def test_the_size_of_a_batch_counts_keys_and_headers(codec: int) -> None:
    client = Client()
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, 0, 0, 1 << 20)
    builder.append(0, 1_000, b"k" * 1_000, b"v" * 1_000, [("h", b"h" * 10_000), ("n", None)])
    client.fetched(bytes(builder.build()))

    (fetched,) = PrefetchTap(client).take({OURS})
    (stored,) = fetched.batches
    stored.decode()

    assert stored.size_bytes >= 12_000


def test_any_other_fetch_error_and_a_broken_coordinator_ask_for_a_new_client() -> None:
    client = Client()
    client._fetcher._records[PARTITION] = FetchError(error=KafkaError("x"), backoff=0.0)
    with pytest.raises(ClientFailedError):
        PrefetchTap(client).take({OURS})

    def broken() -> None:
        raise KafkaError("heartbeat")

    client._coordinator = SimpleNamespace(check_errors=broken)
    with pytest.raises(ClientFailedError):
        PrefetchTap(client).take({OURS})


def test_a_topic_that_may_not_be_read_is_no_reason_for_a_new_client() -> None:
    client = Client()
    error = TopicAuthorizationFailedError("logs")
    client._fetcher._records[PARTITION] = FetchError(error=error, backoff=0.0)

    with pytest.raises(TopicsRefusedError) as refused:
        PrefetchTap(client).take({OURS})

    assert refused.value.topics == {"logs"}


def test_during_a_rebalance_nothing_is_taken() -> None:
    client = Client()
    client.fetched(batch(0, [b"a"]))
    client._subscription.reassignment_in_progress = True

    assert PrefetchTap(client).take({OURS}) == []


async def test_a_poll_for_nothing_still_tells_the_client_that_it_is_polled() -> None:
    client = Client()
    polled = SubscriptionState()
    polled._last_fetch_ended = 0.0
    client._subscription = polled

    assert PrefetchTap(client).take(()) == []

    assert polled._fetch_count == 0
    assert polled._last_fetch_ended > 0.0


async def test_a_wait_that_is_cancelled_loses_nothing_and_counts_as_no_poll() -> None:
    client = Client()
    polled = SubscriptionState()
    client._subscription.fetch_context = polled.fetch_context
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()
    client._fetcher._create_fetch_waiter = lambda: waiter
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(PrefetchTap(client).wait(10))
        await asyncio.sleep(0)  # lets it begin to wait

        waiting.cancel()

    client.fetched(batch(0, [b"a"]))
    assert waiter.cancelled()
    assert polled._fetch_count == 0
    assert values_of(client) == [b"a"]


def test_a_client_whose_private_names_have_moved_is_read_the_public_way() -> None:
    client = Client()
    assert isinstance(make_tap(client), PrefetchTap)
    del client._fetcher._notify

    assert isinstance(make_tap(client), GetmanyTap)


async def test_the_public_way_gives_the_same_records() -> None:
    record = SimpleNamespace(offset=3, value=b"a", key=None, headers=(), timestamp=0)

    class Consumer:
        async def getmany(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
            assert (timeout_ms, max_records) == (100, 2_000)
            return {PARTITION: [record]}

    tap = GetmanyTap(Consumer())
    await tap.wait(0.1)

    (fetched,) = tap.take({OURS})
    assert fetched.position == 3
    assert fetched.batches[0].next_offset == 4
    assert list(fetched.batches[0].decode()) == [record]

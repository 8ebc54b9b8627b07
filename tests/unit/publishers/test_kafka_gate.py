"""Nothing that was handed to the client goes out after its partition may have been lost."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from aiokafka.errors import NotEnoughReplicasError, NotLeaderForPartitionError
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.structs import TopicPartition

from service.events import Permission
from service.publishers.kafka_gate import WAIT_POLL_S, OwnerLostError, ProduceGate

OURS = TopicPartition("alerts", 0)
ALSO_OURS = TopicPartition("alerts", 1)
NODE = 1
CONNECT_S = 1.0
BACKOFF_S = 0.1


class Broker:
    """The client's connection: may be slow to connect, and remembers what was written."""

    def __init__(self, on_connect: Callable[[], None] = lambda: None) -> None:
        self.written: list[set[TopicPartition]] = []
        self.errors: list[int] = []
        self.asked = 0
        self.reachable = True
        self.on_connect = on_connect

    async def ready(self, node: int) -> bool:
        assert node == NODE
        await asyncio.sleep(CONNECT_S)
        self.on_connect()
        return self.reachable

    async def send(self, node: int, request: Any) -> Any:
        assert node == NODE
        error = self.errors.pop(0) if self.errors else 0
        topics = [
            (topic, [(partition, error, 7, -1, 0) for partition, _ in batches])
            for topic, batches in request._topics
        ]
        self.written.append(
            {TopicPartition(topic, batch[0]) for topic, batches in topics for batch in batches}
        )
        return SimpleNamespace(API_VERSION=7, topics=topics)

    def force_metadata_update(self) -> "asyncio.Future[bool]":
        self.asked += 1
        self.metadata = asyncio.get_running_loop().create_future()
        return self.metadata

    async def _maybe_wait_metadata(self) -> None:
        """Nothing to wait for."""


class Producer:
    """A producer whose sender has taken batches and is about to send them."""

    def __init__(self, broker: Broker) -> None:
        self.requeued: list[MessageBatch] = []
        self.leaderless = False
        self.woken = False
        self._sender = SimpleNamespace(
            client=broker,
            _acks=-1,
            _in_flight={NODE},
            _muted_partitions=set(),
            _request_timeout_ms=10_000,
            _retry_backoff=BACKOFF_S,
            _txn_manager=None,
            _message_accumulator=SimpleNamespace(
                reenqueue=self.requeued.append,
                drain_by_nodes=lambda **_: ({}, self.leaderless),
                _batch_ttl=10.0,
                _waiter_future=SimpleNamespace(
                    done=lambda: self.woken, set_result=lambda _: setattr(self, "woken", True)
                ),
            ),
            _send_produce_req=None,
        )

    async def send(self, *batches: MessageBatch) -> None:
        self._sender._in_flight.add(NODE)
        self._sender._muted_partitions |= {batch.tp for batch in batches}
        await self._sender._send_produce_req(NODE, {batch.tp: batch for batch in batches})

    @property
    def ttl_s(self) -> float:
        return float(self._sender._message_accumulator._batch_ttl)

    @property
    def busy(self) -> bool:
        return bool(self._sender._in_flight)

    @property
    def muted(self) -> set[TopicPartition]:
        return set(self._sender._muted_partitions)

    def drain(self) -> Any:
        return self._sender._message_accumulator.drain_by_nodes(ignore_nodes=set())


def batch_for(partition: TopicPartition) -> tuple[BatchBuilder, MessageBatch]:
    builder = BatchBuilder(1000, 0, is_transactional=False)
    builder.append(timestamp=1, key=None, value=b"alert")
    builder.close()
    batch = MessageBatch(partition, builder, 60.0, 0)
    batch.drain_ready()
    return builder, batch


def guarded(
    gate: ProduceGate, partition: TopicPartition, permission: Callable[[], Permission]
) -> MessageBatch:
    """A batch that ``gate`` lets go as ``permission`` says."""
    builder, batch = batch_for(partition)
    gate.guard(builder, permission)
    return batch


async def test_a_batch_whose_partition_was_lost_while_it_waited_is_not_written() -> None:
    answer = [Permission.GO]
    broker = Broker(on_connect=lambda: answer.append(Permission.NEVER))
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: answer[-1])

    await producer.send(batch)

    assert broker.written == []
    assert isinstance(batch.future.exception(), OwnerLostError)
    assert not producer.requeued
    assert not producer.busy


async def test_what_shares_the_request_fails_with_it_and_is_not_written_either() -> None:
    broker = Broker()
    producer = Producer(broker)
    gate = ProduceGate(producer)
    lost = guarded(gate, OURS, lambda: Permission.NEVER)
    kept = guarded(gate, ALSO_OURS, lambda: Permission.GO)

    await producer.send(lost, kept)

    assert broker.written == []
    assert isinstance(kept.future.exception(), OwnerLostError)
    assert isinstance(lost.future.exception(), OwnerLostError)


async def test_a_batch_that_is_ours_or_that_nobody_guards_is_written() -> None:
    broker = Broker()
    producer = Producer(broker)
    gate = ProduceGate(producer)
    builder, batch = batch_for(OURS)
    _, unguarded = batch_for(ALSO_OURS)
    gate.guard(builder, lambda: Permission.GO)

    await producer.send(batch, unguarded)

    assert broker.written == [{OURS, ALSO_OURS}]
    assert batch.future.result().offset == unguarded.future.result().offset == 7
    assert not producer.busy


async def test_a_retry_goes_through_the_gate_again() -> None:
    answers = [Permission.GO, Permission.GO, Permission.NEVER, Permission.NEVER]
    broker = Broker()
    broker.errors = [NotLeaderForPartitionError.errno]
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: answers.pop(0))

    await producer.send(batch)
    await asyncio.sleep(BACKOFF_S)
    assert producer.requeued == [batch]
    await producer.send(batch)

    assert broker.written == [{OURS}]
    assert isinstance(batch.future.exception(), OwnerLostError)


async def test_a_batch_that_cannot_be_taken_now_does_not_hold_up_its_broker() -> None:
    broker = Broker()
    broker.errors = [NotEnoughReplicasError.errno]
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: Permission.GO)
    began_s = asyncio.get_running_loop().time()

    await producer.send(batch)

    assert asyncio.get_running_loop().time() - began_s == CONNECT_S
    assert not producer.busy
    assert (producer.muted, producer.requeued) == ({OURS}, [])  # it alone has to wait
    await asyncio.sleep(BACKOFF_S)
    assert (producer.muted, producer.requeued, producer.woken) == (set(), [batch], True)


async def test_a_batch_that_has_failed_meanwhile_is_not_sent_again() -> None:
    broker = Broker()
    broker.errors = [NotEnoughReplicasError.errno]
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: Permission.GO)

    await producer.send(batch)
    batch.failure(OwnerLostError())  # as when the client's sender has ended
    await asyncio.sleep(BACKOFF_S)

    assert isinstance(batch.future.exception(), OwnerLostError)
    assert (producer.muted, producer.requeued, producer.woken) == (set(), [], True)


async def test_a_partition_without_a_leader_does_not_keep_the_client_from_the_others() -> None:
    broker = Broker()
    producer = Producer(broker)
    ProduceGate(producer)
    producer.leaderless = True

    drained = [producer.drain(), producer.drain()]

    assert drained == [({}, False)] * 2  # so that it waits for more to send, as it always does
    assert broker.asked == 1
    assert not producer.woken
    broker.metadata.set_result(True)
    await asyncio.sleep(0)  # lets the client be woken
    assert producer.woken


async def test_without_a_connection_nothing_is_asked_and_the_client_tries_again() -> None:
    broker = Broker()
    broker.reachable = False
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: Permission.GO)

    await producer.send(batch)

    assert producer.requeued == [batch]
    assert broker.written == []


async def test_what_may_not_be_ours_stays_with_the_client_and_the_others_go() -> None:
    broker = Broker()
    producer = Producer(broker)
    gate = ProduceGate(producer)
    doubtful = guarded(gate, OURS, lambda: Permission.WAIT)
    sure = guarded(gate, ALSO_OURS, lambda: Permission.GO)

    await producer.send(doubtful, sure)

    assert broker.written == [{ALSO_OURS}]
    assert producer.requeued == [doubtful]
    assert sure.future.result().offset == 7
    assert not doubtful.future.done()
    assert not producer.busy


async def test_while_all_of_it_waits_the_client_is_not_kept_busy() -> None:
    broker = Broker()
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: Permission.WAIT)
    began_s = asyncio.get_running_loop().time()

    await producer.send(batch)

    assert asyncio.get_running_loop().time() - began_s == WAIT_POLL_S
    assert producer.requeued == [batch]
    assert broker.written == []


async def test_doubt_that_comes_while_it_connects_keeps_the_batch_too() -> None:
    answer = [Permission.GO]
    broker = Broker(on_connect=lambda: answer.append(Permission.WAIT))
    producer = Producer(broker)
    gate = ProduceGate(producer)
    batch = guarded(gate, OURS, lambda: answer[-1])

    await producer.send(batch)
    answer.append(Permission.GO)
    broker.on_connect = lambda: None
    await producer.send(batch)

    assert producer.requeued == [batch]
    assert broker.written == [{OURS}]
    assert batch.future.result().offset == 7


def test_a_batch_never_expires_for_want_of_a_leader() -> None:
    producer = Producer(Broker())

    ProduceGate(producer)

    assert producer.ttl_s == float("inf")


async def test_what_was_written_is_freed_without_the_collector_of_cycles() -> None:
    producer = Producer(Broker())
    ProduceGate(producer)
    builder, batch = batch_for(OURS)
    written = weakref.ref(batch)
    gc.disable()
    try:
        await producer.send(batch)
        del builder, batch
        await asyncio.sleep(0)  # lets the callbacks of the batch's answer run
        freed = written() is None
    finally:
        gc.enable()

    assert freed

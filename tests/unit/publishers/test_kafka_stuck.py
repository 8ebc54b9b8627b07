"""A producer whose brokers have all moved is replaced; one whose brokers are away is not."""

import asyncio
from dataclasses import dataclass, field

import pytest

from service.errors import BrokerUnavailableError
from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.base import ProduceUnknownError
from service.publishers.kafka_stuck import GRACE_S, LOOK_S, STUCK_S, StuckWatch
from service.publishers.output import OutputPartition, Sealed
from service.publishers.runs import Run
from service.testing.broker import MemoryBroker
from service.testing.broker_clients import MemoryProducer
from tests.unit.publishers.owners import Owner

OWNER = Owner()


class AskedBatch(RecordBatch):
    answer = Permission.GO

    def permission(self) -> Permission:
        return self.answer


@dataclass
class Wire:
    """One output partition with a request on the wire, and a broker that may be reached."""

    broker: MemoryBroker = field(default_factory=MemoryBroker)
    output: OutputPartition = field(default_factory=lambda: OutputPartition("out", 0, 1_000_000))
    tried: int = 0
    heard_s: float = float("-inf")

    def send(self, answer: Permission = Permission.GO) -> None:
        batch = AskedBatch("in", 0, [SourceRecord(b"")], next_offset=1)
        batch.answer = answer
        self.output.on_wire = Sealed([Run(batch, [0], OWNER)], 10, rows=[])
        self.output.sent_at_s = asyncio.get_running_loop().time()

    def producer(self) -> MemoryProducer:
        self.tried += 1
        return MemoryProducer(self.broker)

    async def watch(self, for_s: float) -> None:
        async with asyncio.timeout(for_s):
            await StuckWatch(self.producer, lambda: [self.output], lambda: self.heard_s).run()


async def test_an_unanswered_request_ends_the_producer_when_another_one_connects() -> None:
    wire = Wire()
    wire.send()
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(ProduceUnknownError):
        await wire.watch(600.0)

    took_s = asyncio.get_running_loop().time() - began_s
    assert STUCK_S + GRACE_S < took_s <= STUCK_S + LOOK_S + GRACE_S
    assert wire.tried == 1


async def test_while_no_broker_can_be_reached_the_producer_stays() -> None:
    wire = Wire()
    wire.broker.stop()
    wire.send()
    with pytest.raises(BrokerUnavailableError):
        await MemoryProducer(wire.broker).start()

    with pytest.raises(TimeoutError):
        await wire.watch(600.0)

    assert wire.tried > 50


async def test_while_a_secret_cannot_be_read_the_producer_stays() -> None:
    """A file that is being replaced is no reason to send again what may be stored already."""

    class Unreadable(Wire):
        def producer(self) -> MemoryProducer:
            self.tried += 1
            raise OSError("kafka.sasl_plain_password_file")

    wire = Unreadable()
    wire.send()

    with pytest.raises(TimeoutError):
        await wire.watch(600.0)

    assert wire.tried > 50


async def test_a_broker_that_is_just_back_answers_the_producer_first() -> None:
    wire = Wire()
    wire.send()
    loop = asyncio.get_running_loop()
    loop.call_later(STUCK_S + LOOK_S + GRACE_S / 2, setattr, wire.output, "on_wire", None)

    with pytest.raises(TimeoutError):
        await wire.watch(600.0)

    assert wire.tried == 1


@pytest.mark.parametrize("answer", [Permission.WAIT, Permission.NEVER])
async def test_what_may_not_be_sent_is_not_stuck(answer: Permission) -> None:
    wire = Wire()
    wire.send(answer)

    with pytest.raises(TimeoutError):
        await wire.watch(600.0)

    assert wire.tried == 0

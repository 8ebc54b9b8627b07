"""Whatever fails, each record that was added is stored, in the order of its partition."""

import asyncio
from itertools import count
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from service.events import Permission, RecordBatch, SourceRecord
from service.publishers.base import Row, TopicInfo
from service.publishers.kafka import KafkaPublisher
from service.publishers.runs import Run
from service.testing.broker import MemoryBroker
from service.testing.virtual_time import VirtualTimeLoop
from tests.unit.publishers.test_kafka import Owner, batch_of
from tests.unit.publishers.test_unavailable_topics import Refused

PARTITIONS = 3


class Added(NamedTuple):
    """One run of records, and how long it is quiet after it."""

    partition: int
    records: int
    urgent: bool
    quiet_s: float
    doubtful: bool


class Doubted(RecordBatch):
    """Records of which nobody knows for a while whose they are."""

    __slots__ = ("answer",)

    answer: Permission

    def permission(self) -> Permission:
        return self.answer


RUNS = st.lists(
    st.builds(
        Added,
        partition=st.integers(0, PARTITIONS - 1),
        records=st.integers(1, 3),
        urgent=st.booleans(),
        quiet_s=st.sampled_from([0.0, 0.0, 0.001, 0.01, 1.0]),
        doubtful=st.booleans(),
    ),
    max_size=12,
)


async def _publish(runs: list[Added], refused: frozenset[int]) -> tuple[MemoryBroker, RecordBatch]:
    broker = MemoryBroker()
    broker.produce_delay_s = 0.002
    broker.create_topic("out", PARTITIONS)
    numbers = count()
    publisher = KafkaPublisher(lambda: Refused(broker, lambda _: next(numbers) in refused))
    publisher.topics["out"] = TopicInfo(PARTITIONS, 1_000_000)
    total = sum(run.records for run in runs)
    inputs = batch_of(total)
    doubted = Doubted(
        "in", 1, [SourceRecord(b"", offset=offset) for offset in range(total)], next_offset=total
    )
    doubted.answer = Permission.WAIT
    first = 0
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(publisher.run())
        for run in runs:
            places = list(range(first, first + run.records))
            first += run.records
            batch, other = (doubted, inputs) if run.doubtful else (inputs, doubted)
            other.ack_many(places)
            rows: list[Row] = [(None, None, b"%d" % place, []) for place in places]
            publisher.add_run("out", run.partition, Run(batch, places, Owner()), rows)
            publisher.added(urgent=run.urgent)
            await asyncio.sleep(run.quiet_s)
        doubted.answer = Permission.GO
        async with asyncio.timeout(600):
            await publisher.flush()
        assert (publisher.pending, publisher._shares.size_bytes, publisher._unsent) == (0, 0, {})
        running.cancel()
    assert doubted.left == 0
    return broker, inputs


@settings(max_examples=150)
@given(runs=RUNS, refused=st.frozensets(st.integers(0, 12), max_size=4))
def test_what_was_added_is_stored_in_order(runs: list[Added], refused: frozenset[int]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        broker, inputs = runner.run(_publish(runs, refused))

    assert inputs.left == 0
    added: list[list[tuple[int, bool]]] = [[] for _ in range(PARTITIONS)]
    first = 0
    for run in runs:
        places = range(first, first + run.records)
        added[run.partition] += [(place, run.doubtful) for place in places]
        first += run.records
    for partition, log in enumerate(broker.topics["out"].logs):
        stored = [int(record.value or b"") for record in log.records]
        # those that had to wait may have been passed, but not by one another
        for doubtful in (True, False):
            mine = [place for place, doubted in added[partition] if doubted is doubtful]
            assert list(dict.fromkeys(place for place in stored if place in mine)) == mine

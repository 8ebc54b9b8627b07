import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.events import (
    SAME_KEY,
    Failure,
    Handled,
    Outcome,
    RecordBatch,
    Result,
    SourceRecord,
)
from service.metrics import PipelineCounters
from service.publishers.base import Row, TopicInfo
from service.publishers.plain import gathered
from service.publishers.results import ResultWriter
from service.publishers.runs import Entry, Run
from service.telemetry import Tracing

STAMPS = {"headrace-failed-at"}
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Publisher:
    """Remembers what is queued; the partition of a key is its first byte."""

    def __init__(self) -> None:
        self.topics = {"out": TopicInfo(4, 2_000), "dead": TopicInfo(1, 2_000)}
        self.queued: list[tuple[str, int, int, Row]] = []
        self.runs = 0
        self.full = self.tight = False

    def max_record_bytes(self, topic: str) -> int:
        return self.topics[topic].max_message_bytes

    def partition_for(self, topic: str, key: bytes | None, spare: int) -> int:
        return (spare if key is None else key[0]) % self.topics[topic].partitions

    def partitions_for(self, topic: str, keys: Sequence[bytes | None], spare: int) -> Sequence[int]:
        return [self.partition_for(topic, key, spare) for key in keys]

    def add(self, topic: str, partition: int, entry: Entry) -> None:
        row = (entry.timestamp_ms, entry.key, entry.value, list(entry.headers))
        self.queued.append((topic, partition, entry.place, row))

    def add_run(self, topic: str, partition: int, run: Run, rows: Sequence[Row]) -> None:
        self.runs += 1
        for place, row in zip(run.places, rows, strict=True):
            self.queued.append((topic, partition, place, row))

    def added(self, *, urgent: bool) -> None:
        assert not urgent

    async def learn(self, topic: str) -> None:
        raise AssertionError(topic)

    async def room(self) -> None:
        raise AssertionError


def writer_of(publisher: Publisher) -> ResultWriter:
    return ResultWriter(
        publisher,
        pipeline="p",
        handler="h",
        output="out",
        dead_letter="dead",
        counters=PipelineCounters("p"),
        idle=lambda: False,
        tracing=Tracing(None),
    )


def batch_of(*keys: bytes | None, headers: Any = ()) -> RecordBatch:
    records = [
        SourceRecord(b"{}", key=key, offset=10 + at, headers=headers) for at, key in enumerate(keys)
    ]
    return RecordBatch("in", 3, records, next_offset=10 + len(keys))


def run_of(batch: RecordBatch, results: Sequence[Any]) -> Handled:
    return Handled(batch, list(range(len(results))), list(results))


RESULTS: dict[str, Sequence[Any]] = {
    "plain": [{"a": 1}, {"b": "x"}, {"c": None}],
    "no JSON among them": [{"a": 1}, {"b": object()}, {"c": 3}],
    "not finite": [{"a": 1}, {"b": math.nan}, {"c": 3}],
    "too large": [{"a": 1}, {"b": "x" * 3_000}, {"c": 3}],
}


@pytest.mark.parametrize("results", RESULTS.values(), ids=RESULTS.keys())
@pytest.mark.parametrize("keys", [(None, None, None), (b"a", b"b", b"a")], ids=["no keys", "keys"])
async def test_a_run_is_published_as_its_outcomes_one_by_one_would_be(
    results: Sequence[Any], keys: Sequence[bytes | None]
) -> None:
    at_once, one_by_one = Publisher(), Publisher()

    writer_of(at_once).publish([run_of(batch_of(*keys), results)])
    for outcome in run_of(batch_of(*keys), results).outcomes():
        addressed = Outcome(outcome.batch, outcome.index, (Result(outcome.results),))
        writer_of(one_by_one).publish([addressed])

    def facts(publisher: Publisher) -> list[tuple[Any, ...]]:
        """Everything but the stamps, by output partition, where alone there is an order."""
        return sorted(
            (
                topic,
                partition,
                place,
                key,
                value,
                [h for h in headers if h[0] != "headrace-failed-at"],
            )
            for topic, partition, place, (_, key, value, headers) in publisher.queued
        )

    assert facts(at_once) == facts(one_by_one)


ADDRESSED: st.SearchStrategy[Any] = st.one_of(
    st.just({"plain": 1}),
    st.builds(
        Result,
        st.sampled_from([{"n": 1}, {"n": None}, {"n": math.inf}, {"n": object()}, b"raw", "text"]),
        topic=st.sampled_from([None, "out", "other", "small"]),
        key=st.sampled_from([SAME_KEY, SAME_KEY, b"k", "text", None]),
        headers=st.sampled_from([None, None, None, {"x": "y"}]),
        timestamp=st.sampled_from([None, None, 7]),
    ),
)


def runs_of(outcomes: Sequence[Outcome]) -> list[Handled | Outcome]:
    """``outcomes`` as a plain function's come: what looks plain is in runs already."""
    items: list[Handled | Outcome] = []
    for outcome in outcomes:
        results = outcome.results
        single = results if isinstance(results, dict) else results[0] if len(results) == 1 else None
        if not isinstance(single, dict) and (single is None or not single.plain):
            items.append(outcome)
        elif items and isinstance(last := items[-1], Handled):
            indexes, addressed = [*last.indexes, outcome.index], last.addressed
            addressed = addressed or isinstance(single, Result)
            items[-1] = Handled(last.batch, indexes, [*last.results, single], addressed=addressed)
        else:
            addressed = isinstance(single, Result)
            items.append(Handled(outcome.batch, [outcome.index], [single], addressed=addressed))
    return items


@given(
    results=st.lists(st.lists(ADDRESSED, max_size=3), min_size=2, max_size=8),
    in_runs=st.booleans(),
)
def test_whatever_handlers_address_comes_out_as_it_would_one_by_one(
    results: list[list[Any]], *, in_runs: bool
) -> None:
    def outcomes() -> list[Outcome]:
        batch = batch_of(*[b"%d" % (at % 3) for at in range(len(results))])
        batch.dispatched = len(results)
        batch.hold(0, 0)
        return [
            Outcome(
                batch,
                at,
                each[0]
                if len(each) == 1 and isinstance(each[0], dict)
                else tuple(Result(r) if isinstance(r, dict) else r for r in each),
            )
            for at, each in enumerate(results)
        ]

    def facts(publisher: Publisher) -> list[tuple[Any, ...]]:
        return sorted(
            (topic, partition, place, at, key, value, stamp == 7, headers[:2])
            for at, (topic, partition, place, (stamp, key, value, headers)) in enumerate(
                # beyond an output partition there is no order
                sorted(publisher.queued, key=lambda queued: (queued[2], queued[0], queued[1]))
            )
            if topic != "dead"
        ) + sorted((topic, place) for topic, _, place, _ in publisher.queued if topic == "dead")

    at_once, one_by_one = Publisher(), Publisher()
    for publisher in (at_once, one_by_one):
        publisher.topics |= {"other": TopicInfo(2, 2_000), "small": TopicInfo(1, 520)}
    first, second = outcomes(), outcomes()
    writer_of(at_once).publish(runs_of(first) if in_runs else first)
    for outcome in second:
        writer_of(one_by_one).publish([outcome])

    assert facts(at_once) == facts(one_by_one)
    # what is waited for, and what is done because there is nothing to wait for
    assert first[0].batch.pending == second[0].batch.pending
    assert first[0].batch.done == second[0].batch.done


async def test_several_results_of_each_event_are_queued_in_one_call_a_partition() -> None:
    publisher = Publisher()
    batch = batch_of(b"a", b"b", b"a")
    each = (Result({"n": 0}), Result({"n": 1}))

    writer_of(publisher).publish(
        [Outcome(batch, 0, each), Outcome(batch, 1, ()), Outcome(batch, 2, each)]
    )

    assert publisher.runs == 1
    assert [
        (place, dict(row[3])["headrace-id"], row[2]) for _, _, place, row in publisher.queued
    ] == [
        (0, b"p/h/in/3/10-0", b'{"n":0}'),
        (0, b"p/h/in/3/10-1", b'{"n":1}'),
        (2, b"p/h/in/3/12-0", b'{"n":0}'),
        (2, b"p/h/in/3/12-1", b'{"n":1}'),
    ]
    assert list(batch.done) == [0, 1, 0]
    batch.ack_many([0, 2])
    assert list(batch.done) == [0, 1, 0]
    batch.ack_many([0, 2])
    assert list(batch.done) == [1, 1, 1]


async def test_results_that_name_their_topics_are_queued_in_one_call_a_topic() -> None:
    publisher = Publisher()
    publisher.topics["other"] = TopicInfo(1, 2_000)
    batch = batch_of(None, None, None, None)
    topics = ["other", None, "other", "out"]

    writer_of(publisher).publish(
        [Outcome(batch, at, (Result({"n": at}, topic=topic),)) for at, topic in enumerate(topics)]
    )

    assert publisher.runs == 2
    assert [(topic, place) for topic, _, place, _ in publisher.queued] == [
        ("other", 0), ("other", 2), ("out", 1), ("out", 3),
    ]  # fmt: skip


async def test_a_plain_run_is_queued_in_one_call_a_partition() -> None:
    publisher = Publisher()

    writer_of(publisher).publish(
        [run_of(batch_of(b"a", b"b", b"a", b"e"), [{"n": n} for n in range(4)])]
    )

    assert publisher.runs == 2  # "a" and "e" go to one partition, "b" to another
    assert [(partition, place) for _, partition, place, _ in publisher.queued] == [
        (1, 0), (1, 2), (1, 3), (2, 1),
    ]  # fmt: skip


async def test_results_are_named_by_where_their_input_came_from() -> None:
    publisher = Publisher()

    writer_of(publisher).publish([run_of(batch_of(None, None), [{"n": 0}, {"n": 1}])])

    headers = [dict(row[3]) for _, _, _, row in publisher.queued]
    assert [name["headrace-id"] for name in headers] == [b"p/h/in/3/10-0", b"p/h/in/3/11-0"]
    assert {name["content-type"] for name in headers} == {b"application/json"}
    assert all(row[0] is not None for _, _, _, row in publisher.queued)  # stamped


async def test_the_trace_of_the_input_is_passed_on() -> None:
    publisher = Publisher()
    batch = batch_of(None, headers=[("other", b"x"), ("traceparent", PARENT)])

    writer_of(publisher).publish([run_of(batch, [{"n": 0}])])

    assert dict(publisher.queued[0][3][3])["traceparent"] == PARENT


async def test_nothing_of_a_lost_partition_is_published() -> None:
    publisher = Publisher()
    lost, kept = batch_of(None), batch_of(None, None)
    lost.dispatched, lost.revoked = 1, True

    writer_of(publisher).publish([run_of(lost, [{"n": 0}]), run_of(kept, [{"n": 1}, {"n": 2}])])

    assert [row[2] for _, _, _, row in publisher.queued] == [b'{"n":1}', b'{"n":2}']
    assert lost.in_flight == 0


def test_runs_that_were_made_as_such_stay_as_they_are() -> None:
    first, second = batch_of(None, None, None), batch_of(None)
    runs = [run_of(first, [{"n": 0}]), run_of(first, [{"n": 2}]), run_of(second, [{"n": 3}])]

    assert list(gathered(runs)) == runs


def test_what_is_plain_is_gathered_by_batch_in_the_order_of_reading() -> None:
    first, second = batch_of(None, None, None, None), batch_of(None, None)
    failure = Outcome(first, 2, failure=Failure("handler", "", stage="handle"))
    items = [
        Outcome(second, 0, {"n": 4}),
        Outcome(first, 0, {"n": 0}),
        None,
        Outcome(second, 1, {"n": 5}),
        Outcome(first, 1, {"n": 1}),
        failure,
        Outcome(first, 3, {"n": 3}),
    ]

    found = list(gathered(items))

    assert [
        item if isinstance(item, Outcome) else (item.batch, item.indexes) for item in found
    ] == [(first, [0, 1]), failure, (first, [3]), (second, [0, 1])]

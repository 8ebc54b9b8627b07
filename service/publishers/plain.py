"""Runs of plain results: one mapping a record, under the record's key or one of its own.

Nearly everything is published this way, to the handler's own output or to a topic that each
result names, so it is done for a whole run at a time, with the loops in C: encode, check, name,
address, queue.  A run that holds anything else (a value that is no JSON or too large, a topic
that is not known) is not touched, and goes the long way, one by one.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import Any, NamedTuple, cast

import orjson

from service.clock import wall_clock_ms
from service.delivery.identity import ID_HEADER, first_id_format, headrace_id, id_prefix
from service.events import Handled, Outcome, Record, RecordBatch, Result
from service.publishers.base import OutputTracing, Row
from service.publishers.encoding import (
    CONTENT_TYPE,
    OUR_HEADERS_BYTES,
    TRACE_HEADER,
    key_of,
    passed_on,
)
from service.publishers.protocols import Publisher
from service.publishers.runs import EntryOwner, Run, by_partition
from service.state.keyed import all_finite

_RUNS = {Handled}
_MAPPING, _ADDRESSED, _SEVERAL = range(3)
_key_of = attrgetter("key")
_headers_of = attrgetter("headers")
_serial_of = attrgetter("serial")


class _Part(NamedTuple):
    """Results of a run that go to one topic, in the run's order; no keys are the records' own."""

    topic: str | None
    places: list[int]
    values: Sequence[Any]
    keys: list[bytes | None] | None
    numbers: list[int] | None
    """Which of its record's results each is; ``None`` if each is the only one."""


class _Ready(NamedTuple):
    """Records that were checked and can be queued."""

    topic: str
    run: Run
    keys: list[bytes | None]
    rows: list[Row]


class Several:
    """Outcomes of one batch with any number of plain results each.

    Attributes:
        batch: The records' batch.
        items: The outcomes, none of them a failure; not empty.
    """

    __slots__ = ("batch", "items")

    def __init__(self, batch: RecordBatch, items: list[Outcome]) -> None:
        self.batch = batch
        self.items = items

    @property
    def indexes(self) -> list[int]:
        """Their places in the batch."""
        return [item.index for item in self.items]

    def outcomes(self) -> list[Outcome]:
        """One by one."""
        return self.items


class PlainWriter:
    """Writes runs of plain results of one handler.

    Args:
        publisher: Where records go.
        owner: Told what becomes of them.
        name: Pipeline and handler, for ids.
        output: Topic of the results; ``None`` if each has to name its own, so none is plain.
        tracing: Knows which records are traced.
    """

    def __init__(
        self,
        publisher: Publisher,
        owner: EntryOwner,
        *,
        name: tuple[str, str],
        output: str | None,
        tracing: OutputTracing,
    ) -> None:
        self._publisher = publisher
        self._owner = owner
        self._name = name
        self._output = output
        self._tracing = tracing

    def write(self, run: Handled | Several) -> bool:
        """Queue the results of ``run``; false if they are not all plain, and none is queued."""
        ready: list[_Ready] = []
        for part in (
            self._several_by_topic(run) if isinstance(run, Several) else self._by_topic(run)
        ):
            made = self._checked(run.batch, part)
            if made is None:
                return False
            ready.append(made)
        if isinstance(run, Several):
            _expect(run)
        publisher = self._publisher
        for topic, whole, keys, rows in ready:
            partitions = publisher.partitions_for(topic, keys, run.batch.partition)
            for partition, some, some_rows in by_partition(partitions, whole, rows):
                publisher.add_run(topic, partition, some, some_rows)
        return True

    def _by_topic(self, run: Handled) -> Iterable[_Part]:
        if not run.addressed:
            return (_Part(self._output, run.indexes, run.results, None, None),)
        records, output = run.batch.records, self._output
        parts: dict[str | None, tuple[list[int], list[Any], list[bytes | None]]] = {}
        for place, result in zip(run.indexes, run.results, strict=True):
            topic, value, key = output, result, records[place].key
            if type(result) is Result:
                topic, value = result.topic or output, result.value
                key = key_of(result, key)
            part = parts.get(topic)
            if part is None:
                part = parts[topic] = ([], [], [])
            part[0].append(place)
            part[1].append(value)
            part[2].append(key)
        return [_Part(topic, *part, None) for topic, part in parts.items()]

    def _several_by_topic(self, run: Several) -> Iterable[_Part]:
        records, output = run.batch.records, self._output
        parts: dict[str | None, tuple[list[int], list[Any], list[bytes | None], list[int]]] = {}
        for item in run.items:
            place, results = item.index, item.results
            own_key = records[place].key
            many = (Result(results),) if isinstance(results, dict) else results
            for number, result in enumerate(many):
                topic = result.topic or output
                part = parts.get(topic)
                if part is None:
                    part = parts[topic] = ([], [], [], [])
                part[0].append(place)
                part[1].append(result.value)
                part[2].append(key_of(result, own_key))
                part[3].append(number)
        return [_Part(topic, *part) for topic, part in parts.items()]

    def _checked(self, batch: RecordBatch, part: _Part) -> "_Ready | None":
        """The records of results to one topic; ``None`` if not all of them are plain."""
        publisher = self._publisher
        topic, places, results, keys, numbers = part
        if topic is None or topic not in publisher.topics:
            return None
        try:
            values = list(map(orjson.dumps, results))
        except TypeError:
            return None
        records = [batch.records[place] for place in places]
        if keys is None:
            keys = list(map(_key_of, records))
        if publisher.topics[topic].needs_key and None in keys:
            return None
        longest_key = max(map(len, filter(None, keys)), default=0)
        longest = max(map(len, values)) + longest_key + OUR_HEADERS_BYTES
        if longest > publisher.max_record_bytes(topic) or not _all_finite(results, values):
            return None
        origin = (*self._name, batch.path, batch.partition)
        if numbers is None:
            first_id = first_id_format(*origin)
            headers = [[(ID_HEADER, first_id % record.offset), CONTENT_TYPE] for record in records]
        else:
            prefix = id_prefix(*origin)
            headers = [
                [(ID_HEADER, headrace_id(prefix, record.offset, number)), CONTENT_TYPE]
                for record, number in zip(records, numbers, strict=True)
            ]
        self._pass_trace_on(batch, places, records, headers)
        # stamped here, once: the client would ask for the time of each
        rows: list[Row] = list(zip(repeat(wall_clock_ms()), keys, values, headers))
        return _Ready(topic, Run(batch, places, self._owner), keys, rows)

    def _pass_trace_on(
        self,
        batch: RecordBatch,
        places: Sequence[int],
        records: Sequence[Record],
        headers: Sequence[list[tuple[str, bytes]]],
    ) -> None:
        """Add the header that makes an output part of its input's trace, where there is one."""
        traced = id(batch) in self._tracing.active
        if not traced and not any(map(_headers_of, records)):
            return
        for place, record, own in zip(places, records, headers, strict=True):
            parent = self._tracing.outgoing(batch, place) if traced else passed_on(record.headers)
            if parent is not None:
                own.append((TRACE_HEADER, parent))


def _expect(run: Several) -> None:
    """Have each record wait for all of its results; what has none is done."""
    batch = run.batch
    silent: list[int] = []
    for item in run.items:
        count = item.count
        if not count:
            silent.append(item.index)
        elif count > 1:
            batch.hold(item.index, count - 1)
    batch.ack_many(silent)


def by_count(item: Handled | Several) -> Iterable[tuple[Sequence[int], int]]:
    """The places in its batch of what was handled, and how many results each has."""
    if isinstance(item, Several):
        return [((outcome.index,), outcome.count) for outcome in item.items]
    return ((item.indexes, 1),)


def gathered(
    items: Sequence[Handled | Outcome | None],
) -> Iterable[Handled | Several | Outcome]:
    """``items`` by batch, those that are plain and stand together put into runs.

    Calls that wait finish across many batches; taken as they come, nearly every run would have
    one result.  Within a batch the order stays, and batches go in the order in which they were
    read, so whatever was handled in the order of its partition keeps that order: a result of a
    later batch that its key allowed to finish had none of its key before it in an earlier one.
    """
    if len(items) == 1:
        return [item for item in items if item is not None]
    if set(map(type, items)) == _RUNS:
        return cast("Sequence[Handled]", items)  # of one pass over their batches each, in order
    groups: dict[RecordBatch, list[Handled | Outcome]] = {}
    for item in items:
        if item is not None:
            group = groups.get(item.batch)
            if group is None:
                groups[item.batch] = [item]
            else:
                group.append(item)
    batches = sorted(groups, key=_serial_of) if len(groups) > 1 else groups
    return chain.from_iterable(_runs(batch, groups[batch]) for batch in batches)


def _runs(
    batch: RecordBatch, items: Iterable[Handled | Outcome]
) -> Iterator[Handled | Several | Outcome]:
    """``items`` of one batch in order, neighbours that are plain in the same way put into runs."""
    for kind, some in groupby(items, _kind):
        if kind is None:
            yield from some
            continue
        outcomes: list[Any] = list(some)
        if kind == _SEVERAL:
            yield Several(batch, outcomes)
            continue
        indexes = [outcome.index for outcome in outcomes]
        results = [outcome.results for outcome in outcomes]
        if kind == _ADDRESSED:
            results = [result for (result,) in results]
        yield Handled(batch, indexes, results, addressed=kind == _ADDRESSED)


def _kind(item: Handled | Outcome) -> int | None:
    """How ``item`` is plain, ``None`` if it is not."""
    # no enumeration: on Python 3.11 to name a member of one costs as much as all of this
    if type(item) is not Outcome or item.failure is not None:
        return None
    results = item.results
    if type(results) is dict:
        return _MAPPING
    if len(results) == 1:
        (result,) = results
        return _ADDRESSED if type(result) is Result and result.plain else None
    return _SEVERAL if all(type(each) is Result and each.plain for each in results) else None


def _all_finite(results: Sequence[Any], values: Sequence[bytes]) -> bool:
    """Whether no number is NaN or infinite, which the encoder writes as null without a word."""
    # From behind, where CPython's search looks for the first byte, which is rarer than the last.
    if b"\n".join(values).rfind(b"null") < 0:
        return True
    return all(
        all_finite(result)
        for result, value in zip(results, values, strict=True)
        if b"null" in value
    )

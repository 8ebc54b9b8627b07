"""What no filter wants is left undecoded, and nothing else comes out different."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from service.delivery.retry import RetryPolicy
from service.dispatch import Dispatcher, Normalize
from service.dispatch.preselect import MAX_FIELDS, MAX_PAUSE, MIN_RECORDS, Preselect
from service.events import EventBatch, Failure, Outcome, RecordBatch, SourceRecord
from service.handlers import load_handler
from service.metrics import PipelineCounters
from service.normalizers import JsonNormalizer, Limits, LogNormalizer, load_normalizer
from service.where import Where, compile_where
from tests.json_text import as_json

ALERTS = load_handler("log_alerts")
FILLING: list[bytes | None] = [b'{"level":"INFO","service":"b","at":{"host":"x"}}'] * MIN_RECORDS
LIMITS = Limits(max_value_bytes=600, max_depth=8)
FILTERS: Sequence[Mapping[str, Any]] = (
    {"field": "level", "in": ["WARN", "ERROR"]},
    {"field": "level", "not_in": ["INFO"]},
    {"field": "service", "in": ["a", "é"]},
    {"field": "service", "equals": 1},
    {"field": "at.host", "starts_with": "h"},
    {"not": {"field": "at", "exists": True}},
    {"any": [{"field": "level", "equals": "WARN"}, {"field": "n", "gt": 3}]},
)


class Road:
    """Values through the normalizing step, and what filters then want of them."""

    def __init__(self, kind: str, filters: Sequence[Mapping[str, Any]], *, first: bool) -> None:
        self.wheres = [compile_where(each) for each in filters]
        self.failed: list[Outcome] = []
        self.step = Normalize(
            load_normalizer(kind, LIMITS),
            failed=self.failed.extend,
            counters=PipelineCounters("p"),
        )
        if first:
            self.step.preselect(self.wheres)

    def take(self, values: Sequence[bytes | None], finished: Sequence[int] = ()) -> EventBatch:
        """One chunk, of which an earlier owner had ``finished`` some."""
        batch = RecordBatch(
            "t", 0, [SourceRecord(value) for value in values], next_offset=len(values)
        )
        batch.ack_many(finished)
        (events,) = self.step([batch])
        return events

    def wanted(self, events: EventBatch) -> list[dict[int, Any]]:
        """For each filter, the data of what it lets through by its place."""
        places = range(len(events)) if events.indexes is None else events.indexes
        return [
            {place: events.data[place] for place in places if where(events.data[place])}
            for where in self.wheres
        ]

    def refused(self) -> dict[int, Any]:
        """What was dead-lettered, by its place."""
        return {
            outcome.index: None if outcome.failure is None else
            (outcome.failure.code, outcome.failure.detail)
            for outcome in self.failed
        }  # fmt: skip


_SCALARS = (
    st.sampled_from(["WARN", "INFO", "ERROR", "warning", "err", "AUDIT", "a", "é", "host"])
    | st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_FIELDS = st.sampled_from(["level", "service", "at", "at.host", "n", "message", "x"])
_TREES = st.recursive(
    _SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_FIELDS | st.just("host") | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def _damaged(draw: st.DrawFn) -> bytes:
    value = bytearray(as_json(draw(st.dictionaries(_FIELDS, _TREES, max_size=4))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(value)))
        value[place : place + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b'"', b"\\", b"{", b"]", b",", b"\xff", b"\xc3", b"\x00", b"e9"])
        )
    assume(not _is_huge(bytes(value)))
    return bytes(value)


def _is_huge(value: bytes) -> bool:
    """Whether it holds a fraction beyond a double, which is refused only where it is decoded."""
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return "infinity" in str(error)
    return False


_LOGS = st.dictionaries(_FIELDS, _TREES, max_size=5).map(as_json)
_DEEP = st.integers(6, 10).map(lambda n: b'{"level":"INFO","d":' + b"[" * n + b"]" * n + b"}")
_ODD = st.sampled_from([
    None, b"", b"[]", b"null", b"WARN: a line", b"info: a line", b"no line", b"\xef\xbb\xbf{}",
    b'{"level":"INFO","level":"WARN"}', b'{"l\\u0065vel":"ERROR"}', b'{"level":"INFO"} {}',
    b'{"level":"INFO","x":"\xed\xa0\x80"}', b'{"level":["WARN"]}',
    b'{"level":{"a":1}}', b'{"level":7}', b'{"level":null}',
])  # fmt: skip
_COMMON = st.sampled_from([
    b'{"level":"INFO","message":"m","service":"b","at":{"host":"x"},"n":1}',
    b'{"level":"WARN","message":"m","service":"a","at":{"host":"h1"},"n":1}',
])  # fmt: skip
_CHUNKS = st.lists(_COMMON | _LOGS | _damaged() | _DEEP | _ODD, max_size=8).flatmap(
    lambda values: st.permutations([*values, *FILLING])
)
_FILTERS = st.lists(st.sampled_from(FILTERS), min_size=1, max_size=3, unique_by=id)


@given(
    st.sampled_from(["json", "log"]),
    _FILTERS,
    _CHUNKS,
    st.sets(st.integers(0, MIN_RECORDS - 1), max_size=3),
)
@example("log", FILTERS[:1], [b'{"level":"INFO","n":18446744073709551616}', *FILLING], set())
@example("log", FILTERS[:1], [b'{"level":"INFO","n":' + b"[" * 9 + b"]" * 9 + b"}", *FILLING], {1})
@example("json", FILTERS[:1], [b'{"level":"WARN"}', b'{"level":{"a":1}}', *FILLING], set())
@example("log", FILTERS[2:3], [b'{"level":7,"service":"INFO"}'] * MIN_RECORDS, set())
def test_filters_let_through_and_the_step_refuses_the_same_as_without(
    kind: str, filters: Sequence[Mapping[str, Any]], values: list[bytes | None], finished: set[int]
) -> None:
    _agree(kind, filters, values, finished)


_EACH = [
    b'{"level":"INFO","x":"\xff"}',
    b'{"\xff":1}',
    b'{"level":"INFO","x":"' + b"y" * 600 + b'"}',
    b'{"level":7,"service":"b"}',
    b'{"level":"warning","service":"a","at":{"host":"h"}}',
    b'{"at.host":"h"}',
    b'{"at.host":"x","at":{"host":"h"}}',
    b'{"level":"WARN","x":1e400,"n":18446744073709551616}',
    b'{"level":"INFO","n":18446744073709551616}',
    b'{"level":"INFO","d":' + b"[" * 8 + b"]" * 8 + b"}",
    b'{"level":"WARN","d":' + b"[" * 8 + b"]" * 8 + b"}",
]


@pytest.mark.parametrize("kind", ["json", "log"])
@pytest.mark.parametrize("where", FILTERS)
@pytest.mark.parametrize("value", _EACH)
def test_each_oddity_alone_comes_out_as_without(
    kind: str, where: Mapping[str, Any], value: bytes
) -> None:
    _agree(kind, [where], [*[b"{}"] * MIN_RECORDS, value], ())


def _agree(
    kind: str,
    filters: Sequence[Mapping[str, Any]],
    values: Sequence[bytes | None],
    finished: Collection[int],
) -> None:
    first, whole = (Road(kind, filters, first=first) for first in (True, False))

    events, expected = (road.take(values, sorted(finished)) for road in (first, whole))

    assert first.wanted(events) == whole.wanted(expected)
    assert first.refused() == whole.refused()
    assert list(events.failed) == list(expected.failed)
    assert list(events.tombstones) == list(expected.tombstones)
    if events.chosen_by is not None:
        assert events.chosen_by is first.wheres[0]
        assert list(first.wanted(events)[0]) == list(events.indexes or ())


@pytest.mark.parametrize("kind", ["json", "log"])
@pytest.mark.parametrize("chunk", [1, MIN_RECORDS, 100])
@pytest.mark.parametrize("level", ["INFO", "WARN"])
def test_a_fraction_beyond_a_double_is_refused_only_where_the_event_is_wanted(
    kind: str, chunk: int, level: str
) -> None:
    road = Road(kind, FILTERS[:1], first=True)
    value = b'{"level":"%b","x":1e400}' % level.encode()

    events = road.take([value, *FILLING * chunk][:chunk])

    assert road.wanted(events) == [{}]
    assert list(road.refused()) == ([0] if level == "WARN" else [])
    assert list(events.failed) == list(road.refused())


@pytest.mark.parametrize(
    "value",
    [
        None, b"{", b"[]", b'{"x":"\xff","y":1e400}', b'{"level":7,"x":1e400}',
        b'{"x":1e400,"y":18446744073709551616}', b'{"x":1e400,"y":' + b"[" * 9 + b"]" * 9 + b"}",
        b'{"level":"WARN","x":1e400}', b'{"x":1e400,"y":"' + b"y" * 600 + b'"}',
    ],
)  # fmt: skip
def test_what_was_refused_for_more_than_a_fraction_is_not_unwanted(value: bytes | None) -> None:
    first = Preselect.of(LogNormalizer(LIMITS), [compile_where(FILTERS[0])])

    assert first is not None
    assert not first.is_unwanted(value)
    assert first.is_unwanted(b'{"x":1e400}')


def _records(*values: bytes | None) -> list[SourceRecord]:
    return [SourceRecord(value) for value in values]


@pytest.mark.parametrize("kind", [JsonNormalizer, LogNormalizer])
@pytest.mark.parametrize("filters", [FILTERS[:1], FILTERS[1:2], FILTERS[:4], FILTERS[4:5]])
def test_what_is_not_wanted_is_not_decoded(
    kind: type[JsonNormalizer], filters: Sequence[Mapping[str, Any]]
) -> None:
    first = Preselect.of(kind(), [compile_where(each) for each in filters])
    wanted = {"level": "WARN", "service": "a", "at": {"host": "h"}, "more": [1]}

    assert first is not None
    found = first.select(_records(*FILLING, orjson.dumps(wanted), *FILLING))

    assert found is not None
    assert found.places == [MIN_RECORDS]
    assert found.data == [*[None] * MIN_RECORDS, wanted, *[None] * MIN_RECORDS]


class Subclass(JsonNormalizer):
    """May read a value in any way."""


@pytest.mark.parametrize(
    ("normalizer", "wheres"),
    [
        (JsonNormalizer(), []),
        (JsonNormalizer(), [None]),
        (JsonNormalizer(), [compile_where(FILTERS[0]), None]),
        (JsonNormalizer(), [compile_where(None)]),
        (JsonNormalizer(), [compile_where({"expression": "level == 'WARN'"})]),
        (JsonNormalizer(), [compile_where({"not": {"expression": "level == 'WARN'"}})]),
        (JsonNormalizer(), [
            compile_where({"any": [{"field": f"f{n}", "exists": True} for n in range(9)]})
        ]),
        (Subclass(), [compile_where(FILTERS[0])]),
        (load_normalizer("raw"), [compile_where(FILTERS[0])]),
        (load_normalizer("cloudevents"), [compile_where(FILTERS[0])]),
    ],
)  # fmt: skip
def test_there_is_no_first_look_where_it_cannot_tell_or_saves_nothing(
    normalizer: Any, wheres: Sequence[Where | None]
) -> None:
    assert MAX_FIELDS == 8
    assert Preselect.of(normalizer, wheres) is None


def test_looks_become_rare_while_they_are_for_nothing_and_come_back() -> None:
    first = Preselect.of(JsonNormalizer(), [compile_where(FILTERS[0])])
    wanted = _records(*[b'{"level":"WARN"}'] * MIN_RECORDS)
    broken = _records(*FILLING[1:], b"{")

    assert first is not None
    looked = [first.select(wanted) is not None for _ in range(400)]

    gaps = [len(gap) for gap in "".join("x" if each else "-" for each in looked).split("x")]
    assert gaps[:9] == [0, 1, 2, 4, 8, 16, 32, 64, 64]
    assert max(gaps) == MAX_PAUSE
    assert any(first.select(_records(*FILLING)) is not None for _ in range(MAX_PAUSE + 1))
    assert first.select(_records(*FILLING)) is not None
    assert first.select(broken) is None
    assert first.select(_records(*FILLING)) is None  # one chunk is not looked at
    assert first.select(_records(*FILLING)) is not None


def test_few_records_are_decoded_as_a_whole() -> None:
    first = Preselect.of(JsonNormalizer(), [compile_where(FILTERS[0])])

    assert first is not None
    assert first.select(_records(*FILLING[1:])) is None
    assert first.select(_records(*FILLING)) is not None


def test_filters_that_change_are_followed() -> None:
    road = Road("json", FILTERS[:1], first=True)
    info = compile_where({"field": "level", "in": ["INFO"]})
    values = [b'{"level":"WARN"}', *FILLING]
    assert road.take(values).indexes == [0]

    road.step.preselect([info])
    assert road.take(values).chosen_by is info
    road.step.preselect([info, None])
    events = road.take(values)

    assert events.indexes is None
    assert not any(each is None or isinstance(each, Failure) for each in events.data)


def _dispatcher(where: Where) -> Dispatcher:
    counters = PipelineCounters("p")
    return Dispatcher(
        ALERTS.bind({}, name="alerts"),
        where=where,
        ordering="key",
        timeout_s=1,
        retry=RetryPolicy(),
        counters=counters,
    )


def _handled(dispatcher: Dispatcher, events: EventBatch) -> list[int]:
    return [index for run in dispatcher.handle([events]) for index in cast("Any", run).indexes]


VALUES = [
    *FILLING,
    b'{"level":"WARN","message":"m"}',
    b'{"level":"ERROR","message":"m"}',
    b'{"level":"WARN","message":"m","service":"a"}',
]


@pytest.mark.parametrize(
    "filters", [FILTERS[:1], FILTERS[:3]], ids=["its own", "those of all handlers"]
)
async def test_a_handler_gets_what_its_own_filter_wants(
    filters: Sequence[Mapping[str, Any]],
) -> None:
    road = Road("log", filters, first=True)
    events = road.take(VALUES)
    dispatcher = _dispatcher(road.wheres[0])

    assert (events.chosen_by is road.wheres[0]) is (len(filters) == 1)
    assert _handled(dispatcher, events) == [MIN_RECORDS, MIN_RECORDS + 1, MIN_RECORDS + 2]
    assert events.batch.left == 3


async def test_a_handler_whose_filter_has_changed_since_uses_the_new_one() -> None:
    road = Road("log", FILTERS[:1], first=True)
    events = road.take(VALUES)
    dispatcher = _dispatcher(road.wheres[0])
    dispatcher.retune(
        where=compile_where({"field": "level", "in": ["ERROR"]}), timeout_s=1, retry=RetryPolicy()
    )

    assert _handled(dispatcher, events) == [MIN_RECORDS + 1]
    assert events.batch.left == 1

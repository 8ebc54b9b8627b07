"""Results that wait for another handler of their record, and those behind them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.publishers.base import Row
from service.publishers.dead_letters import Grave
from service.publishers.held_back import (
    Addressed,
    HeldBack,
    LaneOf,
    Released,
    all_together,
    by_key,
)
from service.publishers.runs import Run
from service.telemetry import Tracing

OWNER = Grave("handler", PipelineCounters("p"), lambda _: False, Tracing(None))


def _batch(*keys: bytes | None, handlers: int = 2) -> RecordBatch:
    records = [SourceRecord(b"v", key=key, offset=offset) for offset, key in enumerate(keys)]
    batch = RecordBatch("in", 0, records, next_offset=len(keys))
    batch.fan_out([str(n) for n in range(handlers)])
    batch.begun = bytearray(b"\x01" * len(keys))
    return batch


class Setting:
    """What is held back of one partition, and how many bytes that is said to be."""

    def __init__(self, lane_of: LaneOf = by_key) -> None:
        self.charged_bytes = 0
        self.held = HeldBack(self._charge, lane_of)

    def _charge(self, size_bytes: int) -> None:
        self.charged_bytes += size_bytes

    def add(self, batch: RecordBatch, place: int) -> list[int]:
        """One handler's result; what is released by it."""
        run = Run(batch, [place], OWNER)
        return self.take(self.held.add(Addressed("out", 0, run, [(None, None, b"v", [])])))

    def rest(self) -> list[int]:
        """What can be released at a commit."""
        return self.take(self.held.release())

    def take(self, released: Released) -> list[int]:
        """Acknowledge it, and tell which records it is of."""
        for batch, places in released.done:
            batch.ack_many(places)
        return [place for output in released.outputs for place in dict.fromkeys(output.run.places)]


def test_a_record_waits_for_its_last_handler_and_the_next_of_its_key_for_the_record() -> None:
    setting = Setting()
    batch = _batch(b"a", b"a", b"b")

    assert setting.add(batch, 0) == []
    batch.ack(1)  # the other handler does not want this one
    assert setting.add(batch, 1) == []
    batch.ack(2)
    assert setting.add(batch, 2) == [2]
    assert list(batch.done) == [0, 0, 1]  # so no position is committed beyond the first

    assert setting.add(batch, 0) == [0, 1]
    assert not setting.held
    assert setting.charged_bytes == 0


def test_what_an_earlier_record_makes_late_does_not_wait_for_a_later_one() -> None:
    setting = Setting()
    batch = _batch(b"a", b"a")
    batch.ack(0)

    assert setting.add(batch, 1) == []
    assert setting.add(batch, 0) == [0]


def test_a_handler_with_nothing_to_add_is_noticed_at_the_commit() -> None:
    setting = Setting()
    batch = _batch(b"a", b"a")
    setting.add(batch, 0)
    batch.ack(1)
    setting.add(batch, 1)

    assert setting.rest() == []
    batch.ack(0)

    assert setting.rest() == [0, 1]


def test_all_of_a_partition_keep_their_order_if_asked_for() -> None:
    setting = Setting(all_together)
    batch = _batch(b"a", None)
    setting.add(batch, 0)
    batch.ack(1)

    assert setting.add(batch, 1) == []
    assert setting.add(batch, 0) == [0, 1]


def test_lanes_that_are_released_together_keep_the_order_of_their_batches() -> None:
    setting = Setting()
    early, late = _batch(b"a"), _batch(b"b", b"a")
    assert setting.add(late, 0) == []
    assert setting.add(early, 0) == []
    assert setting.add(late, 1) == []
    for batch, place in ((late, 0), (early, 0), (late, 1)):
        batch.ack(place)

    outputs = setting.held.release().outputs

    assert [(output.run.batch, output.run.places) for output in outputs] == [
        (early, [0]),
        (late, [0, 1]),
    ]


def test_what_was_held_back_and_what_was_not_come_out_as_they_were_read() -> None:
    setting = Setting()
    batch = _batch(b"a", b"b", b"c", b"d")
    assert setting.add(batch, 3) == []
    assert setting.add(batch, 1) == []
    batch.ack_many([0, 2])

    run = Run(batch, [0, 1, 2, 3], OWNER)
    rows: list[Row] = [(None, None, b"v", [])] * 4

    assert setting.take(setting.held.add(Addressed("out", 0, run, rows))) == [0, 1, 2, 3]
    assert not batch.left


def test_what_waits_behind_a_record_that_is_left_to_the_next_owner_is_not_in_flight() -> None:
    setting = Setting()
    batch = _batch(b"a", b"a", b"b")
    for place in range(3):
        setting.add(batch, place)
    batch.ack(1)
    assert batch.in_flight == 3

    batch.begun = bytearray(b"\x00\x01\x01")

    assert setting.rest() == []
    assert batch.in_flight == 1


def test_what_is_discarded_is_given_back_and_not_in_flight_for_ever() -> None:
    setting = Setting()
    batch = _batch(b"a", b"a")
    setting.add(batch, 0)
    batch.ack(1)
    setting.add(batch, 1)

    setting.held.discard()

    assert (setting.charged_bytes, bool(setting.held)) == (0, False)
    assert batch.in_flight == 1  # that of the handler which has not finished


KEYS = (b"a", b"b", None)
HANDLERS = 3
Place = tuple[int, int]
"""A record: its batch, and its place there."""


class Flow:
    """Handlers that work through batches, each in the order of every key; as simple as can be."""

    def __init__(self, keys: Sequence[Sequence[bytes | None]]) -> None:
        self.setting = Setting()
        self.batches = [_batch(*some, handlers=HANDLERS) for some in keys]
        self.owners = [
            Grave(str(number), PipelineCounters("p"), lambda _: False, Tracing(None))
            for number in range(HANDLERS)
        ]
        self.ahead = [
            {
                key: [
                    (number, place)
                    for number, some in enumerate(keys)
                    for place, own in enumerate(some)
                    if own == key
                ]
                for key in KEYS
            }
            for _ in range(HANDLERS)
        ]
        self.expected: dict[Place, int] = {}
        self.out: list[tuple[int, bytes | None, Place]] = []

    def go_on(self, handler: int, steps: Mapping[bytes | None, int], wanted: set[Place]) -> None:
        """One handler finishes the next records of some keys, with results of the ``wanted``."""
        taken = [
            self.ahead[handler][key].pop(0)
            for key, count in steps.items()
            for _ in range(min(count, len(self.ahead[handler][key])))
        ]
        for number, some in groupby(sorted(taken), key=itemgetter(0)):
            places = [place for _, place in some]
            batch = self.batches[number]
            batch.ack_many(place for place in places if (number, place) not in wanted)
            places = [place for place in places if (number, place) in wanted]
            for place in places:
                self.expected[number, place] = self.expected.get((number, place), 0) + 1
            if places:
                run = Run(batch, places, self.owners[handler])
                rows: list[Row] = [(None, None, b"v", []) for _ in places]
                self.took(self.setting.held.add(Addressed("out", 0, run, rows)))

    def took(self, released: Released) -> None:
        """Everything of a record comes at once, and its lane has nothing else before it."""
        numbers = {batch.serial: number for number, batch in enumerate(self.batches)}
        counts = Counter[Place]()
        for _, _, run, rows in released.outputs:
            assert len(run.places) == len(rows)
            for place in run.places:
                at = numbers[run.batch.serial], place
                counts[at] += 1
                key = run.batch.records[place].key
                self.out.append((self.owners.index(cast("Grave", run.owner)), key, at))
        for owner in self.owners:  # and is in the order in which it was read
            runs = [output.run for output in released.outputs if output.run.owner is owner]
            places = [(numbers[run.batch.serial], place) for run in runs for place in run.places]
            assert places == sorted(places)
        assert counts == {at: self.expected.pop(at) for at in counts}
        assert not any(
            at in ahead for at in counts for keys in self.ahead for ahead in keys.values()
        )
        self.setting.take(released)

    def nothing_waits_without_need(self) -> None:
        self.took(self.setting.held.release())
        for key in KEYS:
            waiting = sorted(
                at for at in self.expected if self.batches[at[0]].records[at[1]].key == key
            )
            open_ = {at for ahead in self.ahead for at in ahead[key]}
            assert not waiting or waiting[0] in open_


@given(st.data())
def test_handlers_in_any_order_lose_nothing_and_keep_the_order_of_each_key(
    data: st.DataObject,
) -> None:
    keys = data.draw(st.lists(st.lists(st.sampled_from(KEYS), min_size=1, max_size=6), max_size=3))
    flow = Flow(keys)
    every = [(number, place) for number, some in enumerate(keys) for place in range(len(some))]
    for _ in range(data.draw(st.integers(0, 12))):
        flow.go_on(
            data.draw(st.integers(0, HANDLERS - 1)),
            data.draw(st.dictionaries(st.sampled_from(KEYS), st.integers(1, 4))),
            set(data.draw(st.lists(st.sampled_from(every)))) if every else set(),
        )
        if data.draw(st.booleans()):
            flow.nothing_waits_without_need()
    for handler in range(HANDLERS):
        flow.go_on(handler, dict.fromkeys(KEYS, len(every)), set(every[::2]))
    flow.nothing_waits_without_need()

    assert not flow.expected
    assert not flow.setting.held
    assert flow.setting.charged_bytes == 0
    assert all(not batch.left for batch in flow.batches)
    for handler in range(HANDLERS):
        for key in KEYS:
            places = [at for owner, own, at in flow.out if (owner, own) == (handler, key)]
            assert places == sorted(set(places))

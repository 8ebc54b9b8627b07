"""Results that wait for another handler of their record, and those behind them."""

from service.events import RecordBatch, SourceRecord
from service.metrics import PipelineCounters
from service.publishers.graves import Grave
from service.publishers.held_back import HeldBack, LaneOf, all_together, by_key
from service.publishers.runs import Entry


def _batch(*keys: bytes | None, handlers: int = 2) -> RecordBatch:
    records = [SourceRecord(b"v", key=key, offset=offset) for offset, key in enumerate(keys)]
    batch = RecordBatch("in", 0, records, next_offset=len(keys))
    batch.fan_out(handlers)
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
        owner = Grave("handler", PipelineCounters("p"), lambda _: False)
        if not self.held.must_wait(batch, place):
            batch.ack(place)
            return [place]
        self.held.hold("out", 0, Entry(None, None, b"v", [], batch, place, owner))
        batch.ack(place)
        return [held.place for held in self.held.release(batch, place)]

    def rest(self) -> list[int]:
        """What can be released at a commit."""
        return [held.place for held in self.held.release_all()]


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

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from service.windows.watermark import BEFORE_ALL_MS, Watermark


def test_the_watermark_is_the_newest_timestamp_less_the_lateness() -> None:
    watermark = Watermark(lateness_ms=500, idle_s=10, now_s=0.0)

    moved = watermark.observe(10_000, 0.0)

    assert moved
    assert watermark.at_ms == 9_500
    assert not watermark.observe(9_900, 1.0)
    assert watermark.at_ms == 9_500


def test_an_idle_partition_follows_the_wall_clock_after_its_timeout() -> None:
    watermark = Watermark(lateness_ms=500, idle_s=10, now_s=0.0)
    watermark.observe(100_000, 1.0)

    assert not watermark.pass_time(10.9)
    assert watermark.pass_time(11.0)

    assert watermark.at_ms == 100_000 + 10_000 - 500


def test_a_partition_without_any_event_has_no_time() -> None:
    watermark = Watermark(lateness_ms=0, idle_s=1, now_s=0.0)

    assert not watermark.pass_time(1e6)
    assert watermark.at_ms == BEFORE_ALL_MS


def test_a_restored_watermark_does_not_go_back_and_can_become_idle() -> None:
    watermark = Watermark(lateness_ms=100, idle_s=5, now_s=0.0)

    watermark.restore(50_000, 3.0)

    assert watermark.at_ms == 49_900
    assert not watermark.pass_time(7.9)
    assert watermark.pass_time(8.0)
    assert watermark.at_ms == 54_900


class WatermarkMachine(RuleBasedStateMachine):
    """Compares the watermark with its definition over everything that has happened."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.watermark = Watermark(lateness_ms=1_000, idle_s=5.0, now_s=0.0)
        self.newest_ms = BEFORE_ALL_MS
        self.claimed_ms = BEFORE_ALL_MS
        self.heard_at_s = 0.0
        self.before_ms = BEFORE_ALL_MS

    @rule(timestamp_ms=st.integers(0, 100_000))
    def observe(self, timestamp_ms: int) -> None:
        self.watermark.observe(timestamp_ms, self.now_s)
        self.newest_ms = max(self.newest_ms, timestamp_ms)
        self.claimed_ms = max(self.claimed_ms, timestamp_ms)
        self.heard_at_s = self.now_s

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.5, 30.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds
        self.watermark.pass_time(self.now_s)
        silent_s = self.now_s - self.heard_at_s
        if silent_s >= 5.0 and self.newest_ms > BEFORE_ALL_MS:
            self.claimed_ms = max(self.claimed_ms, self.newest_ms + int(silent_s * 1000))

    @invariant()
    def it_is_what_was_claimed_less_the_lateness(self) -> None:
        if self.claimed_ms > BEFORE_ALL_MS:
            assert self.watermark.at_ms == self.claimed_ms - 1_000

    @invariant()
    def it_never_goes_back(self) -> None:
        assert self.watermark.at_ms >= self.before_ms
        self.before_ms = self.watermark.at_ms


test_watermark_agrees_with_its_definition = WatermarkMachine.TestCase

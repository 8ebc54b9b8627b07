import time

from structlog.testing import capture_logs

from service.health.board import StatusBoard
from service.health.watchdog import LoopWatchdog
from service.metrics import ServiceStatus


class Source:
    def snapshot(self) -> ServiceStatus:
        return ServiceStatus()


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def _watched() -> tuple[Clock, StatusBoard, LoopWatchdog]:
    clock = Clock()
    board = StatusBoard(Source(), clock=clock)
    board.beat()
    return clock, board, LoopWatchdog(board)


def test_a_loop_that_turns_is_left_alone() -> None:
    clock, _, watchdog = _watched()

    clock.now_s = 0.9
    with capture_logs() as logs:
        watchdog.look()

    assert (watchdog.incidents, watchdog.blocked_in, logs) == (0, None, [])


def test_a_blocked_loop_is_logged_once_with_its_stack() -> None:
    clock, _, watchdog = _watched()

    with capture_logs() as logs:
        for now_s in (1.5, 2.0, 8.0):
            clock.now_s = now_s
            watchdog.look()

    assert watchdog.incidents == 1
    assert [log["event"] for log in logs] == ["event loop blocked"]
    assert "test_a_blocked_loop_is_logged_once_with_its_stack" in logs[0]["stack"]
    assert logs[0]["log_level"] == "error"


def test_a_second_incident_is_logged_again() -> None:
    clock, board, watchdog = _watched()

    with capture_logs() as logs:
        clock.now_s = 2.0
        watchdog.look()
        board.beat()
        watchdog.look()
        freed = watchdog.blocked_in
        clock.now_s = 4.0
        watchdog.look()

    assert freed is None
    assert watchdog.incidents == 2
    assert [log["event"] for log in logs] == [
        "event loop blocked",
        "event loop turns again",
        "event loop blocked",
    ]


def _compute_until_noticed(watchdog: LoopWatchdog) -> None:
    give_up_s = time.monotonic() + 10
    while watchdog.incidents == 0 and time.monotonic() < give_up_s:
        sum(range(1000))


def test_the_thread_finds_what_blocks_by_itself() -> None:
    watchdog = LoopWatchdog(StatusBoard(Source()))

    with capture_logs() as logs:
        watchdog.start()
        _compute_until_noticed(watchdog)
        watchdog.close()

    assert [log["event"] for log in logs] == ["event loop blocked"]
    assert "_compute_until_noticed" in logs[0]["stack"]

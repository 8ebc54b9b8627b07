import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from service.health.board import StatusBoard
from service.metrics import Phase, ServiceStatus
from service.testing.virtual_time import virtual_loop


class FakeSource:
    def __init__(self) -> None:
        self.broken = False
        self.status = ServiceStatus()

    def snapshot(self) -> ServiceStatus:
        if self.broken:
            raise ZeroDivisionError
        return self.status


@asynccontextmanager
async def _beating(board: StatusBoard) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        beating = tasks.create_task(board.run())
        yield
        beating.cancel()


async def test_the_loop_leaves_the_facts_twice_a_second() -> None:
    source = FakeSource()
    board = StatusBoard(source, clock=virtual_loop().time)

    async with _beating(board):
        await asyncio.sleep(0.1)
        source.status = ServiceStatus(phase=Phase.RUNNING)
        await asyncio.sleep(0.5)
        assert board.latest.status.phase is Phase.RUNNING
        assert board.latest.at_s == 0.5
        assert board.age_s() == pytest.approx(0.1)


def test_a_late_beat_is_loop_lag_for_ten_seconds() -> None:
    now_s = 100.0
    board = StatusBoard(FakeSource(), clock=lambda: now_s)
    board.beat(due_s=98.0)
    late = board.loop_lag_s()

    now_s = 109.0
    board.beat(due_s=109.0)
    remembered = board.loop_lag_s()
    now_s = 111.0
    board.beat(due_s=111.0)

    assert (late, remembered, board.loop_lag_s()) == (2.0, 2.0, 0.0)


def test_a_loop_that_is_blocked_now_lags_already() -> None:
    now_s = 0.0
    board = StatusBoard(FakeSource(), clock=lambda: now_s)
    board.beat()

    now_s = 7.5

    assert board.age_s() == 7.5
    assert board.loop_lag_s() == 7.0


async def test_a_snapshot_that_fails_keeps_the_loop_beating_and_is_logged_once() -> None:
    source = FakeSource()
    board = StatusBoard(source, clock=virtual_loop().time)

    with capture_logs() as logs:
        async with _beating(board):
            source.broken = True
            await asyncio.sleep(5.1)

    assert board.latest.at_s == 5.0
    assert [log["event"] for log in logs] == ["snapshot failed"]

"""The bound on the loop's time, in exact virtual time."""

import asyncio
from pathlib import Path

import pytest

from service.subscriptions import share as share_module
from service.subscriptions.share import LoopShare, starved_s


def idle_clock() -> float:
    """A loop's thread that works for nobody."""
    return 0.0


async def test_work_is_paid_for_with_waiting() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.25, cpu_clock=idle_clock, starved_clock=idle_clock)

    await share.used(0.1)
    after_one = loop.time()
    await share.used(0.2)

    assert round(after_one, 9) == 0.3
    assert round(loop.time(), 9) == 0.9


async def test_all_callers_share_one_bound() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.5, cpu_clock=idle_clock, starved_clock=idle_clock)

    await asyncio.gather(*(share.used(0.1) for _ in range(5)))

    assert round(loop.time(), 9) == 0.5


async def test_little_pieces_are_paid_for_together() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.5, cpu_clock=idle_clock, starved_clock=idle_clock)
    waits_s: list[float] = []

    for _ in range(1000):
        began_s = loop.time()
        await share.used(0.0001)
        waits_s.append(loop.time() - began_s)

    assert 0.09 < loop.time() < 0.101
    assert sum(wait_s > 0 for wait_s in waits_s) < 40  # timers are no finer than a millisecond


async def test_idle_time_is_not_saved_up() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.5, cpu_clock=idle_clock, starved_clock=idle_clock)
    await asyncio.sleep(10)

    await share.used(1)

    assert loop.time() == 11


async def test_a_loop_without_other_work_lets_them_take_more() -> None:
    loop = asyncio.get_running_loop()
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=idle_clock, starved_clock=idle_clock)

    await share.used(0.2)

    assert round(loop.time(), 9) == 0.2


async def test_a_loop_that_works_for_others_lets_them_take_their_share_only() -> None:
    loop = asyncio.get_running_loop()
    cpu_s = 0.0
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=lambda: cpu_s, starved_clock=idle_clock)
    await asyncio.sleep(1)
    cpu_s = 1.1  # a second of others' work, and the tenth that is reported now

    await share.used(0.1)

    assert round(loop.time(), 9) == 1.9


async def test_between_the_two_they_take_what_lies_between() -> None:
    loop = asyncio.get_running_loop()
    cpu_s = 0.0
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=lambda: cpu_s, starved_clock=idle_clock)
    await asyncio.sleep(1)
    cpu_s = 0.55  # half of the 0.9 s that they left, and the tenth that is reported now

    await share.used(0.1)

    assert round(loop.time(), 9) == 1.3


async def test_a_loop_that_would_work_for_others_if_a_processor_were_free_is_busy() -> None:
    loop = asyncio.get_running_loop()
    cpu_s = starved_s = 0.0
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=lambda: cpu_s, starved_clock=lambda: starved_s)
    await asyncio.sleep(1)
    cpu_s, starved_s = 0.5, 0.6  # 0.4 s of others' work, and 0.1 s that is reported now

    await share.used(0.1)

    assert round(loop.time(), 9) == 1.9


async def test_a_loop_that_had_hardly_a_moment_is_told_from_an_idle_one() -> None:
    loop = asyncio.get_running_loop()
    starved_s = 0.0
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=idle_clock, starved_clock=lambda: starved_s)
    await asyncio.sleep(1)
    starved_s = 1.1  # more than there was, because the clocks tick apart

    await share.used(0.0)
    await share.used(0.1)

    assert round(loop.time(), 9) == 1.1


def test_the_time_without_a_processor_is_asked_of_linux_and_none_where_nobody_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert starved_s() >= 0.0
    for text in (b"", b"1 x 3"):
        (tmp_path / "schedstat").write_bytes(text)
        monkeypatch.setattr(share_module, "_SCHEDSTAT", tmp_path / "schedstat")
        assert starved_s() == 0.0
    monkeypatch.setattr(share_module, "_SCHEDSTAT", tmp_path / "none")
    assert starved_s() == 0.0
    (tmp_path / "schedstat").write_bytes(b"460874 2500000000 1\n")
    monkeypatch.setattr(share_module, "_SCHEDSTAT", tmp_path / "schedstat")
    assert starved_s() == 2.5


async def test_their_own_work_is_nobody_elses() -> None:
    loop = asyncio.get_running_loop()
    cpu_s = 0.0
    share = LoopShare(0.1, idle_share=0.5, cpu_clock=lambda: cpu_s, starved_clock=idle_clock)
    for _ in range(3):
        cpu_s += 0.2
        await share.used(0.2)

    assert round(loop.time(), 9) == 0.6

import asyncio
import math
import sys
import threading
import time
from asyncio.subprocess import PIPE

import pytest

from service.testing import virtual_time
from service.testing.virtual_time import StalledError, VirtualTimeLoop, virtual_loop


async def test_unit_tests_run_in_virtual_time() -> None:
    assert isinstance(asyncio.get_running_loop(), VirtualTimeLoop)


async def test_an_hour_passes_at_once() -> None:
    loop = asyncio.get_running_loop()

    await asyncio.sleep(3600)

    assert loop.time() == 3600.0


async def test_ten_tenths_are_exactly_one_second() -> None:
    for _ in range(10):
        await asyncio.sleep(0.1)

    assert asyncio.get_running_loop().time() == 1.0


async def test_timers_fire_in_the_order_of_their_deadlines() -> None:
    fired: list[tuple[str, float]] = []
    loop = asyncio.get_running_loop()

    async def sleeper(name: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        fired.append((name, loop.time()))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(sleeper("late", 2.5))
        tasks.create_task(sleeper("early", 0.25))

    assert fired == [("early", 0.25), ("late", 2.5)]


async def test_a_timeout_fires_at_its_deadline() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(30):
            await asyncio.Event().wait()

    assert asyncio.get_running_loop().time() == 30.0


async def test_work_that_is_ready_takes_no_time() -> None:
    for _ in range(1000):
        await asyncio.sleep(0)

    assert asyncio.get_running_loop().time() == 0.0


def test_waiting_for_nothing_is_an_error_that_names_the_task() -> None:
    async def wait_for_ever() -> None:
        await asyncio.sleep(5)
        await asyncio.Event().wait()

    with pytest.raises(StalledError) as caught:
        virtual_time.run(wait_for_ever())

    assert caught.value.now_s == 5.0
    assert "wait_for_ever" in str(caught.value)


def test_waiting_past_a_paused_clock_is_an_error() -> None:
    async def sleep_while_paused() -> None:
        virtual_loop().pause()
        await asyncio.sleep(1)

    with pytest.raises(StalledError):
        virtual_time.run(sleep_while_paused())


async def test_advance_fires_what_is_due_and_nothing_more() -> None:
    loop = virtual_loop()
    fired: list[float] = []
    for when_s in (1.0, 2.0, 3.0):
        loop.call_at(when_s, fired.append, when_s)
    loop.pause()

    await loop.advance(2)

    assert fired == [1.0, 2.0]
    assert loop.time() == 2.0


async def test_resume_lets_time_jump_again() -> None:
    loop = virtual_loop()
    loop.pause()
    await loop.advance(1)

    loop.resume()
    await asyncio.sleep(9)

    assert loop.time() == 10.0


async def test_advance_refuses_to_go_back() -> None:
    with pytest.raises(ValueError, match="backwards"):
        await virtual_loop().advance(-1)


async def test_a_thread_wakes_the_loop_without_virtual_time_passing() -> None:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set,))

    thread.start()
    await woken.wait()

    assert loop.time() == 0.0
    thread.join()


async def test_work_in_an_executor_finishes() -> None:
    assert await asyncio.to_thread(sum, (1, 2, 3)) == 6


async def test_work_in_an_executor_takes_no_virtual_time() -> None:
    async with asyncio.timeout(0.001):
        await asyncio.to_thread(time.sleep, 0.05)

    assert asyncio.get_running_loop().time() == 0.0


async def test_time_goes_on_without_a_thread_that_never_answers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    never = threading.Event()
    try:
        with monkeypatch.context() as impatient:
            impatient.setattr(virtual_time, "THREAD_PATIENCE_S", 0.01)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(10):
                    await asyncio.to_thread(never.wait)
    finally:
        never.set()

    assert asyncio.get_running_loop().time() == 10.0


async def test_a_thread_that_wakes_the_loop_and_ends_is_not_overlooked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    woken = asyncio.Event()

    def wakes_and_ends() -> int:
        loop.call_soon_threadsafe(woken.set)
        return 1

    with monkeypatch.context() as between_two_looks:
        between_two_looks.setattr(threading, "active_count", wakes_and_ends)
        await woken.wait()


@pytest.mark.real_loops
async def test_a_marked_test_runs_on_a_real_loop() -> None:
    assert not isinstance(asyncio.get_running_loop(), VirtualTimeLoop)
    with pytest.raises(RuntimeError, match="real time"):
        virtual_loop()


async def test_whoever_waits_for_less_than_the_clock_can_show_does_not_wait_for_ever() -> None:
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0.1)
    deadline_s = loop.time() + 0.2  # 0.30000000000000004

    while loop.time() < deadline_s:
        await asyncio.sleep(deadline_s - loop.time())

    assert loop.time() == pytest.approx(0.3, abs=1e-8)


async def test_time_passes_although_nanoseconds_are_too_small_to_be_added() -> None:
    loop = virtual_loop()
    await loop.leap(1e9)
    deadline_s = math.nextafter(1e9, math.inf)

    while loop.time() < deadline_s:
        await asyncio.sleep(deadline_s - loop.time())

    assert loop.time() >= deadline_s


async def test_a_year_passes_at_once_too() -> None:
    loop = asyncio.get_running_loop()
    fired: list[float] = []

    await asyncio.sleep(365 * 86400)
    loop.call_later(0, lambda: fired.append(loop.time()))
    await asyncio.sleep(0.25)

    assert loop.time() == 365 * 86400 + 0.25
    assert fired == [365 * 86400.0]


async def test_the_clock_stands_still_while_the_answer_of_a_process_is_awaited() -> None:
    program = "import time; time.sleep(0.05); print('ready', flush=True); input()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdin=PIPE, stdout=PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async with asyncio.timeout(1):
        answer = await process.stdout.readline()

    assert (answer, asyncio.get_running_loop().time()) == (b"ready\n", 0.0)
    await asyncio.sleep(3_600)  # nobody asks it anything: time goes on as ever
    process.stdin.write(b"\n")
    assert await process.wait() == 0


async def test_the_clock_stands_still_while_the_end_of_a_process_is_awaited() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=PIPE)

    process.kill()
    async with asyncio.timeout(1):
        await process.wait()

    assert asyncio.get_running_loop().time() == 0.0

import asyncio
import queue
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.channels import Receiver, Sender, channel
from service.channels.blocking import run_on_loop
from service.errors import ChannelClosedError


@pytest.mark.real_loops
async def test_a_thread_receives_what_the_loop_sends_until_the_end() -> None:
    tx, rx = channel[int](2)

    def consume() -> list[int]:
        received = [rx.blocking_recv()]
        while rx.blocking_recv_many(received, 10):
            pass
        return received

    with rx:
        async with asyncio.TaskGroup() as tasks:
            consuming = tasks.create_task(asyncio.to_thread(consume))
            with tx:
                for item in range(10):
                    await tx.send(item)

    assert consuming.result() == list(range(10))


@pytest.mark.real_loops
async def test_a_thread_in_line_gets_the_error_and_its_item_back() -> None:
    tx, rx = channel[int](1)
    with tx, rx:
        await tx.send(1)
        async with asyncio.TaskGroup() as tasks:
            failing = tasks.create_task(asyncio.to_thread(_error_of_blocking_send, tx, 2))
            while not tx.statistics().waiting_senders:
                await asyncio.sleep(0)  # lets the thread's call arrive
            rx.close()

    assert failing.result().item == 2


@pytest.mark.real_loops
async def test_a_thread_that_receives_learns_the_end() -> None:
    tx, rx = channel[int](1)
    with rx:
        tx.close()
        with pytest.raises(ChannelClosedError):
            await asyncio.to_thread(rx.blocking_recv)


def test_a_channel_made_outside_of_a_loop_has_none_to_block_on() -> None:
    tx, rx = channel[int](1)
    with tx, rx, pytest.raises(RuntimeError, match="not running"):
        tx.blocking_send(1)


def test_a_loop_that_has_ended_is_not_waited_for() -> None:
    tx, rx = asyncio.run(_make())
    with tx, rx, pytest.raises(RuntimeError, match="not running"):
        rx.blocking_recv()


async def test_the_thread_of_the_loop_is_refused_before_anything_starts() -> None:
    with pytest.raises(RuntimeError, match="await instead"):
        run_on_loop(asyncio.get_running_loop(), _make)


def _error_of_blocking_send(tx: Sender[int], item: int) -> ChannelClosedError:
    try:
        tx.blocking_send(item)
    except ChannelClosedError as error:
        return error
    raise AssertionError("the channel took the item")


async def _make() -> tuple[Sender[int], Receiver[int]]:
    return channel[int](1)


class _Interrupted(BaseException):
    """What the signal handler of the test raises, as Python's own raises KeyboardInterrupt."""


def test_an_interrupted_thread_leaves_no_call_behind_that_takes_an_item() -> None:
    def interrupt(*_: object) -> None:
        raise _Interrupted

    async def serve() -> int:
        tx, rx = channel[int](1)
        ends.put(rx)
        while not rx.statistics().receiver_waiting:
            await asyncio.sleep(0)  # lets the thread's call arrive
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        while rx.statistics().receiver_waiting:
            await asyncio.sleep(0)  # lets the thread take its call back
        with tx, rx:
            await tx.send(1)
            return await rx.recv()

    ends = queue.Queue[Receiver[int]]()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        with ThreadPoolExecutor(1) as executor:
            received = executor.submit(asyncio.run, serve())
            with pytest.raises(_Interrupted):
                ends.get().blocking_recv()

            assert received.result() == 1
    finally:
        signal.signal(signal.SIGUSR1, before)

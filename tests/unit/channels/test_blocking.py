import asyncio
import queue
import signal
import threading
from collections.abc import Callable
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


class _Setting:
    """A loop in another thread; it needs the channel as soon as nobody waits at it any more."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._ends = queue.Queue[tuple[asyncio.AbstractEventLoop, Receiver[int]]]()

    def interrupted(self, prepare: Callable[[asyncio.AbstractEventLoop], None]) -> int:
        """What the loop gets of its own after this thread's call was interrupted."""
        with ThreadPoolExecutor(1) as executor:
            received = executor.submit(asyncio.run, self._serve())
            loop, rx = self._ends.get()
            prepare(loop)
            with pytest.raises(_Interrupted):
                rx.blocking_recv()
            return received.result()

    async def _serve(self) -> int:
        tx, rx = channel[int](1)
        self._ends.put((asyncio.get_running_loop(), rx))
        # The executor waits for this thread, so that without a bound nothing would end the test.
        async with asyncio.timeout(20):
            while not rx.statistics().receiver_waiting:
                await asyncio.sleep(0)  # lets the thread's call arrive
            self.arrived.set()
            while rx.statistics().receiver_waiting:
                await asyncio.sleep(0)  # lets the thread take its call back
            with tx, rx:
                await tx.send(1)
                return await rx.recv()


def test_an_interrupted_thread_leaves_no_call_behind_that_takes_an_item() -> None:
    def interrupt(*_: object) -> None:
        raise _Interrupted

    def interrupt_when_it_waits(_loop: object) -> None:
        threading.Thread(target=interrupter).start()

    def interrupter() -> None:
        setting.arrived.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    setting = _Setting()
    before = signal.signal(signal.SIGUSR1, interrupt)
    try:
        assert setting.interrupted(interrupt_when_it_waits) == 1
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_neither_does_one_that_is_interrupted_as_soon_as_the_loop_knows_of_the_call() -> None:
    def interrupt_in_the_midst(loop: asyncio.AbstractEventLoop) -> None:
        call_soon_threadsafe = loop.call_soon_threadsafe

        def interrupted(callback: Callable[[], object]) -> None:
            call_soon_threadsafe(callback)
            loop.call_soon_threadsafe = call_soon_threadsafe  # type: ignore[method-assign]
            setting.arrived.wait()
            raise _Interrupted

        loop.call_soon_threadsafe = interrupted  # type: ignore[method-assign, assignment]

    setting = _Setting()
    assert setting.interrupted(interrupt_in_the_midst) == 1

import asyncio
import contextlib
import gc
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.channels import Receiver, Sender, broadcast, channel, oneshot, watch
from service.channels.closing import Closing, warn_forgotten
from service.errors import ChannelClosedError
from service.testing.virtual_time import VirtualTimeLoop


class _End(Closing):
    def __init__(self) -> None:
        self.ends = 0

    def _end(self) -> None:
        self.ends += 1


async def test_every_way_out_ends_it() -> None:
    end = _End()
    with end as entered:
        assert entered is end
    async with end:
        pass
    await end.aclose()

    assert end.ends == 3


def test_an_error_in_the_block_ends_it_and_goes_on() -> None:
    end = _End()
    with pytest.raises(LookupError), end:
        raise LookupError

    assert end.ends == 1


def test_the_warning_names_what_was_forgotten() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_forgotten("it")

    assert [str(warning.message) for warning in caught] == ["'it' was never closed"]
    assert caught[0].category is ResourceWarning


Forgotten = Callable[[], tuple[object, Coroutine[Any, Any, object]]]
"""Makes the end that will be forgotten, and what the other end waits for until then."""


def _sender() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = channel[int](1)
    return tx, rx.recv()


def _receiver() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = channel[int](1)
    return rx, tx.closed()


def _permit() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, _ = pair = channel[int](1)
    return tx.try_reserve(), _send_to(pair)


async def _send_to(pair: tuple[Sender[int], Receiver[int]]) -> None:
    tx, rx = pair
    with tx, rx:
        await tx.send(1)


def _permits() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, _ = pair = channel[int](1)
    return tx.try_reserve_many(1), _send_to(pair)


def _owned_permit() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = channel[int](1)
    return tx.try_reserve_owned(), rx.recv()


def _broadcast_sender() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = broadcast.channel[int](1)
    return tx, rx.recv()


def _watch_sender() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = watch.channel(1)
    return tx, rx.changed()


def _watch_receiver() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = watch.channel(1)
    return rx, _until_closed(tx)


def _oneshot_sender() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = oneshot.channel[int]()
    return tx, rx.recv()


def _oneshot_receiver() -> tuple[object, Coroutine[Any, Any, object]]:
    tx, rx = oneshot.channel[int]()
    return rx, _until_closed(tx)


async def _until_closed(tx: watch.Sender[int] | oneshot.Sender[int]) -> None:
    with tx:
        await tx.closed()


FORGOTTEN: dict[str, Forgotten] = {
    "sender": _sender,
    "receiver": _receiver,
    "permit": _permit,
    "permits": _permits,
    "owned permit": _owned_permit,
    "broadcast sender": _broadcast_sender,
    "watch sender": _watch_sender,
    "watch receiver": _watch_receiver,
    "oneshot sender": _oneshot_sender,
    "oneshot receiver": _oneshot_receiver,
}


QUIET = ("watch receiver", "oneshot receiver")


@pytest.mark.filterwarnings("ignore:.*was never closed:ResourceWarning")
@pytest.mark.parametrize("collected_by", ["this thread", "another thread"])
@pytest.mark.parametrize("forgotten", FORGOTTEN)
async def test_the_other_end_hears_of_one_that_was_forgotten(
    forgotten: str, collected_by: str
) -> None:
    """In debug mode the loop refuses to be woken by a thread that is not its own."""
    asyncio.get_running_loop().set_debug(True)
    end, waits = FORGOTTEN[forgotten]()
    waiting = asyncio.get_running_loop().create_task(_or_closed(waits))
    for _ in range(5):
        await asyncio.sleep(0)  # lets it get to where it waits
    assert not waiting.done()
    cycle: list[object] = [end]
    cycle.append(cycle)  # so that only the collector finds it

    del end, cycle
    if collected_by == "this thread":
        gc.collect()
    else:
        await asyncio.to_thread(gc.collect)

    async with asyncio.timeout(1):
        await waiting


async def _or_closed(waits: Coroutine[Any, Any, object]) -> None:
    with contextlib.suppress(ChannelClosedError):
        await waits


def test_what_is_forgotten_after_its_loop_is_quiet() -> None:
    """Nobody waits any more, and a closed loop cannot be told anything."""
    waiting: list[asyncio.Task[object]] = []
    ends: list[object] = []

    async def begin() -> None:
        for make in FORGOTTEN.values():
            end, waits = make()
            ends.append(end)
            waiting.append(asyncio.get_running_loop().create_task(waits))
        await asyncio.sleep(0)

    loop = VirtualTimeLoop()
    loop.run_until_complete(begin())
    loop.close()
    loop.set_exception_handler(lambda *_: None)  # of tasks that will never end

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ends.clear()
        gc.collect()
        for task in waiting:
            task.get_coro().close()
        waiting.clear()
        gc.collect()

    assert {warning.category for warning in caught} == {ResourceWarning}


async def test_a_receiver_that_was_closed_and_drained_may_be_forgotten() -> None:
    tx, rx = channel[int](1)
    with tx:
        await tx.send(1)
        rx.close()
        assert await rx.recv() == 1

        with warnings.catch_warnings():
            warnings.simplefilter("error")
            del rx
            gc.collect()


@pytest.mark.parametrize("forgotten", [name for name in FORGOTTEN if name not in QUIET])
async def test_it_is_ended_also_where_the_warning_is_an_error(
    forgotten: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda error: raised.append(error.exc_type))
    end, waits = FORGOTTEN[forgotten]()
    waiting = asyncio.get_running_loop().create_task(_or_closed(waits))
    for _ in range(5):
        await asyncio.sleep(0)  # lets it get to where it waits

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del end
        async with asyncio.timeout(1):
            await waiting

    assert raised[:1] == [ResourceWarning]

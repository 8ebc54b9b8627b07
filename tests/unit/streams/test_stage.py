"""What the base of all stages does for those that own something: let go of it, once, in time."""

import asyncio
from collections.abc import Callable

import pytest

from service import streams
from service.channels import Sender, channel
from service.streams import ReceiverStream, Stage, Stream, StreamMap
from service.streams.stage import close_all
from tests.unit.streams.feed import settle


class Owner(Stage[int]):
    """Two numbers; says when it lets go of what it owns, which takes a second."""

    def __init__(self, released: list[float]) -> None:
        super().__init__()
        self._left = 2
        self._released_at = released

    async def _pull(self, limit: int) -> list[int] | None:
        del limit
        if not self._left:
            return None
        self._left -= 1
        return [self._left]

    async def _release(self) -> None:
        await asyncio.sleep(1)
        self._released_at.append(asyncio.get_running_loop().time())


def in_a_map(stage: Stage[int]) -> Stream[int]:
    streams_by_key = StreamMap[str, int]()
    streams_by_key.insert("it", Stream(stage))
    streams_by_key.insert("other", streams.interval(10).map(int))
    return streams_by_key.map(lambda pair: pair[1])


BESIDE: dict[str, Callable[[Stage[int]], Stream[int]]] = {
    "chain": lambda stage: Stream(stage).chain(streams.interval(10).map(int)),
    "merge": lambda stage: Stream(stage).merge(streams.interval(10).map(int)),
    "StreamMap": in_a_map,
    "flatten": lambda stage: streams.iter([Stream(stage), streams.interval(10).map(int)]).flatten(),
    "flatten_unordered": lambda stage: streams.iter(
        [Stream(stage), streams.interval(10).map(int)]
    ).flatten_unordered(),
}


@pytest.mark.parametrize("beside", BESIDE.values(), ids=BESIDE)
async def test_a_source_that_has_ended_lets_go_while_others_go_on(
    beside: Callable[[Stage[int]], Stream[int]],
) -> None:
    released: list[float] = []

    async with beside(Owner(released)) as stream:
        for _ in range(4):
            await anext(stream)

        assert released == [1.0]

    assert released == [1.0]


async def test_closing_twice_lets_go_once() -> None:
    released: list[float] = []

    async with Stream(Owner(released)) as stream:
        assert [item async for item in stream] == [1, 0]
    await stream.aclose()

    assert released == [1.0]


async def test_letting_go_is_tried_again_when_it_was_cancelled() -> None:
    released: list[float] = []
    stream = Stream(Owner(released)).skip(2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await anext(stream)

    assert [item async for item in stream] == []

    assert released == [1.5]


async def test_a_stream_that_fails_lets_go_of_its_channel() -> None:
    sender, receiver = channel[int](1)
    stream = ReceiverStream(receiver).map(lambda number: 1 // number)
    await sender.send(0)

    with pytest.raises(ZeroDivisionError):
        await anext(stream)

    assert sender.is_closed
    sender.close()


async def test_an_inner_stream_that_is_cut_short_lets_go_of_its_channel() -> None:
    senders: list[Sender[int]] = []

    def first_two(_: int) -> Stream[int]:
        sender, receiver = channel[int](5)
        senders.append(sender)
        for number in range(5):
            sender.try_send(number)
        return ReceiverStream(receiver).take(2)

    async with streams.iter([1, 2]).flat_map(first_two).chain(streams.pending()) as stream:
        assert [await anext(stream) for _ in range(4)] == [0, 1, 0, 1]
        waiting = asyncio.get_running_loop().create_task(anext(stream, None))
        await settle()

        assert [sender.is_closed for sender in senders] == [True, True]

    assert await waiting is None
    for sender in senders:
        sender.close()


async def test_what_letting_go_raises_is_told_once_and_the_end_is_final() -> None:
    class Untidy(Owner):
        async def _release(self) -> None:
            raise OSError("disk full")

    stream = Stream(Untidy([])).skip(2)

    with pytest.raises(OSError, match="disk full"):
        await anext(stream)

    assert [item async for item in stream] == []


async def test_closing_all_goes_on_after_a_failure_and_raises_the_first() -> None:
    class Untidy(Owner):
        async def _release(self) -> None:
            await super()._release()
            raise OSError(f"after {self._released_at}")

    released: list[float] = []

    with pytest.raises(OSError, match=r"after \[1.0\]"):
        await close_all((Untidy(released), Untidy(released), Owner(released)))

    assert released == [1.0, 2.0, 3.0]


async def test_thousands_of_streams_can_be_closed_at_once() -> None:
    inners = [streams.pending() for _ in range(3000)]
    stream = streams.iter(inners).flatten_unordered()
    waiting = asyncio.get_running_loop().create_task(anext(stream, None))
    await settle()

    await stream.aclose()

    await waiting
    assert asyncio.all_tasks() == {asyncio.current_task()}

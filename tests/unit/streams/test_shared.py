import asyncio
from functools import partial

from service import streams
from service.channels import broadcast, channel, watch
from service.streams import BroadcastStream, Call, Err, Ok, ReceiverStream, WatchStream
from tests.unit.streams.feed import settle


async def test_str_21_a_broadcast_stream_goes_on_after_it_lagged() -> None:
    sender, receiver = broadcast.channel[int](2)
    async with BroadcastStream(receiver) as stream:
        for number in range(5):
            sender.send(number)
        sender.close()

        items = [item async for item in stream]

    assert isinstance(items[0], Err)
    assert items[0].error.missed == 3
    assert items[1:] == [Ok(3), Ok(4)]


async def test_a_broadcast_stream_waits_and_ends_with_the_last_sender() -> None:
    sender, receiver = broadcast.channel[int](2)
    collected = asyncio.get_running_loop().create_task(BroadcastStream(receiver).collect())
    await settle()

    sender.send(1)
    await settle()
    sender.close()

    assert await collected == [Ok(1)]


async def test_closing_a_broadcast_stream_closes_its_receiver() -> None:
    sender, receiver = broadcast.channel[int](2)

    await BroadcastStream(receiver).aclose()

    assert sender.receiver_count == 0
    sender.close()


async def test_str_22_a_watch_stream_conflates_what_nobody_looked_at() -> None:
    sender, receiver = watch.channel(0)
    async with WatchStream(receiver) as stream:
        assert await anext(stream) == 0
        sender.send(1)
        sender.send(2)
        assert await anext(stream) == 2
        sender.send(3)
        sender.close()

        assert [item async for item in stream] == [3]


async def test_a_watch_stream_of_changes_skips_the_value_of_now() -> None:
    sender, receiver = watch.channel(0)
    async with WatchStream.from_changes(receiver) as stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()
        assert not waiting.done()

        sender.send(1)

        assert await waiting == 1
    sender.close()


async def test_a_real_channel_becomes_a_stream_and_a_stream_fills_a_real_channel() -> None:
    sender, receiver = channel[int](8)

    sent = asyncio.get_running_loop().create_task(streams.iter(range(1000)).forward(sender))
    received = await ReceiverStream(receiver).collect()

    assert received == list(range(1000))
    await sent


async def test_the_pipeline_shape_over_a_real_channel() -> None:
    sender, receiver = channel[int](64)
    published: list[int] = []

    async def work(number: int) -> int:
        await asyncio.sleep(1)
        return number

    def handle(numbers: list[int]) -> list[int | Call[int]]:
        return [number if number % 2 else partial(work, number) for number in numbers]

    async with asyncio.TaskGroup() as group:
        group.create_task(streams.iter(range(100)).forward(sender))
        await (
            ReceiverStream(receiver, chunk=32)
            .map_chunks(lambda numbers: [number + 1 for number in numbers])
            .map_chunks(handle)
            .buffer_unordered(10, ordered_by=lambda item: item % 5 if isinstance(item, int) else 0)
            .for_each_chunk(published.extend)
        )

    assert sorted(published) == list(range(1, 101))

"""Calls that are begun by whoever asks for one: how their results count."""

import asyncio
from collections.abc import Awaitable, Callable

from service import streams
from tests.unit.streams.test_buffer_unordered import begin_by_hand, sleeper


def at_once(name: str) -> Callable[[], Awaitable[str]]:
    async def call() -> str:
        return name

    return call


async def test_what_ends_at_once_goes_out_together_and_what_waits_within_the_limit() -> None:
    calls = [*(at_once(str(n)) for n in range(100)), sleeper("a", 1), at_once("b"), sleeper("c", 1)]
    stream = streams.iter(calls).buffer_unordered(1, max_waiting=200, eager=begin_by_hand)
    chunks: list[list[str]] = []

    async def take(chunk: list[str]) -> None:
        chunks.append(chunk)

    await stream.for_each_chunk(take)

    assert [len(chunk) for chunk in chunks] == [100, 2, 1]
    assert chunks[1:] == [["a", "b"], ["c"]]
    assert asyncio.get_running_loop().time() == 2.0

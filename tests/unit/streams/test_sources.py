"""Streams of channels that weigh their items: small ones together, and an end like any other's."""

import pytest

from service.channels import channel
from service.streams import WeighedStream


async def test_small_items_that_are_there_go_together_and_large_ones_alone() -> None:
    sender, receiver = channel[str](100, items_of=len, bytes_of=lambda item: 10 * len(item))
    stream = WeighedStream(receiver, slots=5, size_bytes=40)
    async with sender:
        await sender.send_many(["a", "b", "cc", "dddddd", "e", "ff", "gg"])

    chunks: list[list[str]] = []
    await stream.for_each_chunk(chunks.append)

    assert chunks == [["a", "b", "cc"], ["dddddd"], ["e", "ff"], ["gg"]]


async def test_no_more_is_pulled_than_is_asked_for() -> None:
    sender, receiver = channel[str](100, items_of=len)
    async with sender:
        await sender.send_many(["a", "b", "c", "d"])
        async with WeighedStream(receiver, slots=50, size_bytes=50) as stream:
            taken = await stream.by_ref().take(2).collect()
            left = len(receiver)

    assert (taken, left) == (["a", "b"], 2)


async def test_its_intake_can_be_ended_while_it_runs() -> None:
    sender, receiver = channel[str](100, items_of=len)
    stream = WeighedStream(receiver, slots=5, size_bytes=5)
    async with sender:
        await sender.send("a")
        stream.close()

        assert await stream.map(str.upper).collect() == ["A"]


def test_a_chunk_of_no_slots_is_refused() -> None:
    _, receiver = channel[str](1)
    with receiver, pytest.raises(ValueError, match="slots must be at least 1"):
        WeighedStream(receiver, slots=0, size_bytes=5)

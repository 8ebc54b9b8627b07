"""One topic that takes nothing leaves room for the others, and all of it stays bounded."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.publishers.shares import Room, Shares


def add(shares: Shares, topic: str, size_bytes: int) -> Room | None:
    shares.of(topic).add(1, size_bytes)
    shares.look()
    return shares.room() if shares.full else None


async def test_a_topic_alone_has_all_that_is_common() -> None:
    shares = Shares(100, 100)
    shares.of("other")

    assert add(shares, "out", 100) is None
    assert add(shares, "out", 1) is not None


async def test_while_one_topic_is_full_the_others_take_their_share() -> None:
    shares = Shares(100, 100)
    shares.of("well")

    assert add(shares, "ill", 101) is not None
    assert add(shares, "well", 50) is None
    assert add(shares, "well", 1) is not None


async def test_who_waits_goes_on_when_his_own_topic_has_room_or_all_have() -> None:
    shares = Shares(100, 100)
    add(shares, "ill", 101)
    well = add(shares, "well", 60)
    ill = add(shares, "ill", 1)
    assert well is not None
    assert ill is not None

    async def until_room(room: Room) -> None:
        await room

    async with asyncio.TaskGroup() as tasks:
        waiting_well = tasks.create_task(until_room(well))
        waiting_ill = tasks.create_task(until_room(ill))
        shares.of("well").settle(1, 30)
        await asyncio.sleep(0)  # lets both begin to wait
        await asyncio.sleep(0)  # and the one that may go on
        assert (waiting_well.done(), waiting_ill.done()) == (True, False)
        shares.of("ill").settle(1, 52)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert waiting_ill.done()


async def test_a_room_that_nobody_awaits_is_no_mistake() -> None:
    shares = Shares(1, 1)

    assert add(shares, "out", 2) is not None


async def test_everything_settled_is_empty() -> None:
    shares = Shares()
    add(shares, "out", 10)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await shares.empty()

    shares.of("out").settle(1, 10)

    await shares.empty()
    assert (shares.records, shares.size_bytes) == (0, 0)


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 40)), max_size=100))
def test_whoever_waits_when_he_is_told_to_never_makes_it_exceed_the_bound(
    steps: list[tuple[str, int]],
) -> None:
    shares = Shares(100, 100)
    for topic in "abcd":
        shares.of(topic)
    waiting: set[str] = set()

    for topic, size_bytes in steps:
        if topic not in waiting and add(shares, topic, size_bytes) is not None:
            waiting.add(topic)

    assert shares.size_bytes <= 100 + 100 + 40 * len("abcd")

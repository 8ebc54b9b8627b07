import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.cli.feed import Feed


class Lines:
    """Lines that come when the test says so; reading them waits."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._more = threading.Semaphore(0)

    def say(self, *lines: str) -> None:
        for line in lines:
            self._said.append(line)
            self._more.release()

    def __iter__(self) -> Iterator[str]:
        while True:
            self._more.acquire()
            line = self._said.pop(0)
            if line == "end":
                return
            if line == "broken":
                raise OSError("broken")
            yield line


async def _take(feed: Feed[str], count: int) -> list[str]:
    """Take until there are so many, or the end."""
    found: list[str] = []
    while len(found) < count and (some := await feed.take(count - len(found))):
        found += some
    return found


async def test_what_is_there_is_not_kept_for_what_may_come() -> None:
    lines = Lines()
    feed = Feed(iter(lines), 100)
    lines.say("a", "b")

    assert await _take(feed, 2) == ["a", "b"]


async def test_the_end_is_an_empty_list() -> None:
    lines = Lines()
    feed = Feed(iter(lines), 100)
    lines.say("a", "end")

    assert await _take(feed, 5) == ["a"]
    assert await feed.take(5) == []


async def test_no_more_is_taken_at_once_than_was_asked_for() -> None:
    feed = Feed(iter(["a", "b", "c", "d"]), 100)

    assert len(await feed.take(1)) == 1
    assert len(await _take(feed, 3)) == 3


async def test_nobody_waits_for_a_line_that_does_not_come() -> None:
    lines = Lines()
    feed = Feed(iter(lines), 100)
    lines.say("a")
    first = await feed.take(5)

    async with asyncio.TaskGroup() as tasks:
        taking = tasks.create_task(feed.take(5))
        await asyncio.sleep(0)  # lets it wait
        feed.stop()

    assert (first, taking.result()) == (["a"], [])


async def test_what_was_read_before_a_stop_is_still_given() -> None:
    lines = Lines()
    feed = Feed(iter(lines), 100)
    lines.say("a", "b", "c")
    while feed._read.qsize() < 3:
        await asyncio.sleep(0)  # lets the thread read them
    feed.stop()

    assert await _take(feed, 9) == ["a", "b", "c"]


async def test_an_endless_iterator_is_read_a_little_ahead_and_not_after_a_stop() -> None:
    read: list[int] = []

    def numbers() -> Iterator[int]:
        while True:
            read.append(len(read))
            yield read[-1]

    feed = Feed(numbers(), 3)
    await feed.take(1)
    feed.stop()
    while await feed.take(10):
        pass

    assert len(read) <= 3 + 3


async def test_what_the_iterator_raises_comes_after_what_it_gave() -> None:
    lines = Lines()
    feed = Feed(iter(lines), 100)
    lines.say("a", "broken")

    assert await _take(feed, 1) == ["a"]
    with pytest.raises(OSError, match="broken"):
        await feed.take(1)

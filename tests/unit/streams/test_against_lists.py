"""Random chains of combinators give what the same steps on lists give, however they are read."""

import asyncio
import random
from collections.abc import Callable
from itertools import accumulate, dropwhile, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import streams
from service.streams import ReceiverStream, Stream
from service.testing import virtual_time
from tests.unit.streams.feed import Feed

Step = tuple[str, Callable[[Stream[int]], Stream[int]], Callable[[list[int]], list[int]]]


async def waiting_double(number: int) -> int:
    await asyncio.sleep(number % 3)
    return number * 2


def call(number: int) -> Callable[[], "asyncio.Future[int]"]:
    return lambda: waiting_double(number)  # type: ignore[return-value]  # any awaitable does


def doubled(items: list[int]) -> list[int]:
    return [item * 2 for item in items]


STEPS: list[Step] = [
    ("map", lambda s: s.map(lambda n: n + 1), lambda xs: [x + 1 for x in xs]),
    ("filter", lambda s: s.filter(lambda n: n % 3), lambda xs: [x for x in xs if x % 3]),
    (
        "filter_map",
        lambda s: s.filter_map(lambda n: n // 2 if n % 2 == 0 else None),
        lambda xs: [x // 2 for x in xs if x % 2 == 0],
    ),
    (
        "enumerate",
        lambda s: s.enumerate().map(lambda pair: pair[0] * pair[1]),
        lambda xs: [index * x for index, x in enumerate(xs)],
    ),
    (
        "dedup",
        lambda s: s.dedup(lambda n: n // 4),
        lambda xs: [x for i, x in enumerate(xs) if i == 0 or xs[i - 1] // 4 != x // 4],
    ),
    ("take", lambda s: s.take(7), lambda xs: xs[:7]),
    ("skip", lambda s: s.skip(3), lambda xs: xs[3:]),
    ("step_by", lambda s: s.step_by(3), lambda xs: xs[::3]),
    (
        "take_while",
        lambda s: s.take_while(lambda n: n < 40),
        lambda xs: list(takewhile(lambda x: x < 40, xs)),
    ),
    (
        "skip_while",
        lambda s: s.skip_while(lambda n: n < 5),
        lambda xs: list(dropwhile(lambda x: x < 5, xs)),
    ),
    (
        "scan",
        lambda s: s.scan(0, lambda total, n: (total + n, total + n)),
        lambda xs: list(accumulate(xs)),
    ),
    (
        "chunks",
        lambda s: s.chunks(3).map(sum),
        lambda xs: [sum(xs[i : i + 3]) for i in range(0, len(xs), 3)],
    ),
    (
        "flat_map",
        lambda s: s.flat_map(lambda n: [n] * (n % 3)),
        lambda xs: [x for x in xs for _ in range(x % 3)],
    ),
    (
        "map_chunks",
        lambda s: s.map_chunks(lambda items: [n for n in items for _ in range(2)]),
        lambda xs: [x for x in xs for _ in range(2)],
    ),
    ("chain", lambda s: s.chain([1, 2, 3]), lambda xs: [*xs, 1, 2, 3]),
    (
        "zip",
        lambda s: s.zip(range(20)).map(sum),
        lambda xs: [x + index for index, x in zip(range(20), xs, strict=False)],
    ),
    ("then", lambda s: s.then(waiting_double), doubled),
    ("buffered", lambda s: s.map(call).buffered(3), doubled),
    ("one lane", lambda s: s.map(call).buffer_unordered(3, ordered_by=lambda _: 0), doubled),
    ("timeout", lambda s: s.timeout(10**6).map(lambda item: item.value), lambda xs: xs),  # type: ignore[union-attr]  # nothing is late
    ("take_until", lambda s: s.take_until(asyncio.sleep(10**6)), lambda xs: xs),
    ("merge", lambda s: s.merge(streams.empty()), lambda xs: xs),
    ("flatten_unordered", lambda s: streams.once(s).flatten_unordered(), lambda xs: xs),
    ("by_ref", lambda s: s.by_ref(), lambda xs: xs),
]


async def feed_slowly(feed: Feed[int], items: list[int], chance: random.Random) -> None:
    left = list(items)
    while left:
        count = chance.randint(1, 5)
        feed.push(*left[:count])
        del left[:count]
        await asyncio.sleep(chance.choice([0, 0, 1]))
    feed.close()


async def read_impatiently(stream: Stream[int], chance: random.Random) -> list[int]:
    """Read to the end, giving up and coming back at random moments."""
    received: list[int] = []
    while True:
        waiting = asyncio.get_running_loop().create_task(anext(stream, None))
        for _ in range(chance.randint(0, 6)):
            await asyncio.sleep(0)  # lets the item get a little further
        if chance.random() < 0.5:
            waiting.cancel()
        try:
            item = await waiting
        except asyncio.CancelledError:
            await asyncio.sleep(chance.choice([0, 1]))
            continue
        if item is None:
            return received
        received.append(item)


@given(
    st.lists(st.sampled_from(STEPS), max_size=4),
    st.lists(st.integers(0, 30), max_size=40),
    st.integers(1, 10),
    st.integers(0, 2**32),
)
def test_a_chain_gives_what_the_same_steps_on_a_list_give(
    steps: list[Step], items: list[int], chunk: int, seed: int
) -> None:
    chance = random.Random(seed)

    async def main() -> list[int]:
        feed = Feed[int]()
        stream: Stream[int] = ReceiverStream(feed, chunk=chunk)
        source = stream
        for _, step, _ in steps:
            stream = step(stream)
        async with asyncio.TaskGroup() as tasks, source, stream:
            feeding = tasks.create_task(feed_slowly(feed, items, chance))
            received = await read_impatiently(stream, chance)
            feeding.cancel()
        return received

    expected = items
    for _, _, step_on_list in steps:
        expected = step_on_list(expected)

    assert virtual_time.run(main()) == expected


@pytest.mark.parametrize(("name", "step", "step_on_list"), STEPS, ids=[step[0] for step in STEPS])
@pytest.mark.real_loops
async def test_every_step_works_on_real_loops(
    name: str,
    step: Callable[[Stream[int]], Stream[int]],
    step_on_list: Callable[[list[int]], list[int]],
) -> None:
    del name
    items = [3, 6, 9, 9, 0]

    received = await step(streams.iter(items)).collect()

    assert received == step_on_list(items)

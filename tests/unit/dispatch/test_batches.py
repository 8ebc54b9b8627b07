"""Batch handlers and the order of keys: what stands behind an event goes along with it."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

from service import Event, PermanentError, TransientError, handler
from service.handlers.context import HandlerContext
from service.state.keyed import KeyedState
from service.testing.harness import Harness, pipeline_of

Headrace = Callable[..., Harness]

RETRY = {"attempts": 20, "initial_s": 0.2, "jitter": 0}
SIZE = 8


class Log:
    """What the handlers of this module were given."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.calls: list[list[int]] = []
        self.at_once = 0
        self.most_at_once = 0
        self.hold = asyncio.Event()
        self.known: set[int] = set()

    def is_new(self, event: Event) -> bool:
        """Whether nobody has asked this of the event before."""
        new = event.data["n"] not in self.known
        self.known.add(event.data["n"])
        return new


log = Log()


@pytest.fixture(autouse=True)
def _empty_log() -> Iterator[None]:
    yield
    log.clear()


def result_of(event: Event) -> Any:
    """What is to become of one event of a batch."""
    match event.data.get("does"):
        case "fails":
            return PermanentError("as asked")
        case "flaky" if event.attempts == 0:
            return TransientError("the first attempt always fails")
        case "unclear" if event.attempts == 0:
            return ValueError("what is not known to be permanent may pass")
        case "silent":
            return None
    return {"n": event.data["n"], "key": event.key_text}


@handler("batches.mixed", batch=SIZE, linger_s=0.05)
async def mixed(events: list[Event]) -> list[Any]:
    """Does what the events say, to one or to all of them."""
    numbers = [event.data["n"] for event in events]
    log.calls.append(numbers)
    log.at_once += len(events)
    log.most_at_once = max(log.most_at_once, log.at_once)
    try:
        await asyncio.sleep(0.1)
        for event in events:
            match event.data.get("does"):
                case "fails all":
                    raise PermanentError("as asked")
                case "flaky for all" if log.is_new(event):
                    raise TransientError("as asked")
                case "hangs" if log.is_new(event):
                    await asyncio.Event().wait()
        return [result_of(event) for event in events]
    finally:
        log.at_once -= len(events)


DOES = (
    *("works",) * 24,
    *("silent",) * 3,
    "fails",
    "flaky",
    "unclear",
    "fails all",
    "flaky for all",
)


@pytest.mark.parametrize("ordering", ["key", "partition", "none"])
async def test_a_batch_has_all_that_waits(headrace: Headrace, ordering: str) -> None:
    async with headrace(mixed, ordering=ordering) as service:
        for n in range(4 * SIZE):
            await service.send({"n": n}, key="only")
        await service.settle()

        assert log.calls == [list(range(at, at + SIZE)) for at in range(0, 4 * SIZE, SIZE)]
        assert sorted(output["n"] for output in service.outputs()) == list(range(4 * SIZE))
        assert service.lag() == 0


async def test_events_without_a_key_are_not_handled_one_by_one(headrace: Headrace) -> None:
    async with headrace(mixed, partitions=2) as service:
        for n in range(4 * SIZE):
            await service.send({"n": n}, partition=n % 2)
        await service.settle()

    assert len(log.calls) == 4
    handled = [n for numbers in log.calls for n in numbers]
    for partition in range(2):
        in_order = [n for n in handled if n % 2 == partition]
        assert in_order == list(range(partition, 4 * SIZE, 2))


@pytest.mark.parametrize("ordering", ["key", "partition", "none"])
@pytest.mark.parametrize("seed", range(20))
async def test_each_event_comes_out_once_and_in_the_order_of_its_key(
    headrace: Headrace, seed: int, ordering: str
) -> None:
    chance = random.Random(seed)
    limit = chance.choice([1, SIZE - 1, SIZE, 2 * SIZE, 50])
    keys = chance.choice(["a", "abc", "abcdefghijklmnop"])
    hanging = chance.choice([[], ["hangs"]])
    jobs = [(chance.choice(keys), chance.choice([*DOES, *hanging])) for _ in range(120)]

    async with headrace(
        mixed, retry=RETRY, ordering=ordering, concurrency=limit, timeout_s=5
    ) as service:
        for n, (key, does) in enumerate(jobs):
            await service.send({"n": n, "does": does}, key=key)
            if chance.random() < 0.1:
                await asyncio.sleep(chance.choice([0, 0.02, 0.1]))
        await service.settle()
        outputs, letters = service.outputs(), service.dead_letters()

    dead = [n for n, (_, does) in enumerate(jobs) if does in {"fails", "fails all"}]
    silent = [n for n, (_, does) in enumerate(jobs) if does == "silent"]
    assert sorted(output["n"] for output in outputs) == sorted(
        set(range(len(jobs))) - {*dead, *silent}
    )
    assert len(letters) == len(dead)
    assert max(map(len, log.calls)) <= min(SIZE, limit)
    if all(does != "hangs" for _, does in jobs):  # what is given up may still go on for others
        assert log.most_at_once < 2 * limit
    if ordering != "none":
        last = {n: at for at, numbers in enumerate(log.calls) for n in numbers}
        order: defaultdict[str, list[int]] = defaultdict(list)
        for output in outputs:
            order[output["key"]].append(output["n"])
        for numbers in order.values():
            assert numbers == sorted(numbers)
            # whatever was handled behind one that failed was handled again after it
            assert [last[n] for n in numbers] == sorted(last[n] for n in numbers)


async def test_what_was_behind_a_failure_is_handled_again_behind_it(headrace: Headrace) -> None:
    async with headrace(mixed, retry=RETRY) as service:
        for n, does in enumerate(["works", "works", "flaky", "works", "fails", "works"]):
            await service.send({"n": n, "does": does}, key="only")
        await service.settle()

        assert log.calls == [[0, 1, 2, 3, 4, 5], [2], [3, 4, 5]]
        assert [output["n"] for output in service.outputs()] == [0, 1, 2, 3, 5]
        assert [letter.code for letter in service.dead_letters()] == ["handler"]


async def test_what_can_never_work_sends_nothing_back(headrace: Headrace) -> None:
    async with headrace(mixed, retry=RETRY) as service:
        for n, does in enumerate(["fails", "works", "fails", "works"]):
            await service.send({"n": n, "does": does}, key="only")
        await service.settle()

        assert log.calls == [[0, 1, 2, 3]]
        assert [output["n"] for output in service.outputs()] == [1, 3]


class Reading(msgspec.Struct):
    """What a typed batch handler takes."""

    n: int


@handler("batches.typed", batch=SIZE)
async def typed(readings: list[Reading]) -> list[Any]:
    """Passes on what fits."""
    log.calls.append([reading.n for reading in readings])
    return [{"n": reading.n} for reading in readings]


async def test_one_that_does_not_fit_fails_alone(headrace: Headrace) -> None:
    async with headrace(typed) as service:
        for n in (0, 1, "two", 3, "four"):
            await service.send({"n": n}, key="only")
        await service.settle()

        assert log.calls == [[0, 1, 3]]
        assert [output["n"] for output in service.outputs()] == [0, 1, 3]
        assert len(service.dead_letters()) == 2


@handler("batches.held", batch=SIZE, linger_s=0)
async def held(events: list[Event]) -> list[Any]:
    """Waits until it is let go."""
    log.calls.append([event.data["n"] for event in events])
    await log.hold.wait()
    return [{"n": event.data["n"]} for event in events]


@handler("batches.quick")
def quick(event: Event) -> None:
    """Another handler of the same events."""


@pytest.mark.parametrize("others", [(), ("batches.quick",)], ids=["alone", "one of two"])
async def test_a_drain_waits_for_what_went_along(
    headrace: Headrace, others: tuple[str, ...]
) -> None:
    config = pipeline_of("batches.held")
    (pipeline,) = config["pipelines"].values()
    pipeline["handlers"] |= {f"other-{n}": {"use": other} for n, other in enumerate(others)}
    async with headrace(config) as service:
        for n in range(2 * SIZE):
            await service.send({"n": n}, key="only")
        await service.advance(1)
        begun = [n for numbers in log.calls for n in numbers]
        async with asyncio.TaskGroup() as tasks:
            draining = tasks.create_task(service.drain())
            await service.advance(1)
            log.hold.set()
            report = await draining

    assert begun == list(range(SIZE))
    assert report.drained
    assert [output["n"] for output in service.outputs()][:SIZE] == begun
    assert service.committed()[0] == len(service.outputs())


@handler("batches.counts", batch=SIZE, state=("counts",))
class Counts:
    """Counts the events of each key, and fails after having counted some."""

    def open(self, context: HandlerContext) -> None:
        self._counts: KeyedState = context.state("counts")

    async def __call__(self, events: list[Event]) -> list[Any]:
        log.calls.append([event.data["n"] for event in events])
        results = []
        for event in events:
            count = 1 + (self._counts.get(event, event.key_text) or 0)
            self._counts.put(event, event.key_text, count)
            results.append({"n": event.data["n"], "count": count})
        await asyncio.sleep(0.01)
        if any(event.data["does"] == "flaky for all" and log.is_new(event) for event in events):
            raise TransientError("as asked")
        return [
            TransientError("as asked")
            if event.data["does"] == "flaky" and not event.attempts
            else result
            for event, result in zip(events, results, strict=True)
        ]


@pytest.mark.parametrize("seed", range(5))
async def test_what_was_not_to_be_leaves_the_state_as_it_was(headrace: Headrace, seed: int) -> None:
    chance = random.Random(seed)
    jobs = [
        (chance.choice("ab"), chance.choice(("works", "works", "flaky", "flaky for all")))
        for _ in range(40)
    ]
    async with headrace(Counts, retry=RETRY) as service:
        for n, (key, does) in enumerate(jobs):
            await service.send({"n": n, "does": does}, key=key)
        await service.settle()
        outputs = service.outputs()

    so_far: defaultdict[str, int] = defaultdict(int)
    expected = []
    for n, (key, _) in enumerate(jobs):
        so_far[key] += 1
        expected.append({"n": n, "count": so_far[key]})
    assert sorted(outputs, key=lambda output: output["n"]) == expected
    assert any(len(numbers) > 2 for numbers in log.calls)

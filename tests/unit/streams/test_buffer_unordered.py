import asyncio
import gc
import random
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Container, Hashable, Iterator
from functools import partial
from types import CoroutineType
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import streams
from service.errors import StreamError
from service.streams import (
    Begun,
    Eager,
    Later,
    ReceiverStream,
    Stage,
    Stream,
    buffer_unordered,
)
from service.streams.buffer_unordered import BufferUnordered
from service.streams.lanes import Lanes
from service.streams.stage import CHUNK
from service.testing import virtual_time
from tests.unit.streams.feed import Call, Calls, Feed, settle


@pytest.fixture(params=["by workers", "by hand"], scope="module", autouse=True)
def _begun(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything here holds whoever begins the calls."""
    if request.param == "by workers":
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.streams.concurrency.BufferUnordered", ByHand)
        patch.setattr(ByHand, "at_work", True)
        patch.setattr(buffer_unordered, "AT_ONCE", 2)
        yield


class ByHand(BufferUnordered[Any]):
    """With calls that are begun at once, in whatever worker asks for one."""

    at_work: ClassVar[bool] = False

    def __init__(
        self,
        source: Stage[Any],
        limit: int,
        ordered_by: Callable[[Any], Hashable | None] | None,
        max_waiting: int,
        *,
        eager: Eager | None = None,
        lanes: Lanes[Any] | None = None,
    ) -> None:
        assert eager is None
        super().__init__(source, limit, ordered_by, max_waiting, eager=begin_by_hand, lanes=lanes)


def begin_by_hand(
    queue: deque[tuple[Hashable | None, streams.Call[Any]]], busy: Container[Hashable], most: int
) -> tuple[list[Any], tuple[Hashable | None, Callable[[], Awaitable[Any]]] | None]:
    """Begin what is there until something waits, fails, or wants to be continued later."""
    results: list[Any] = []
    while queue and len(results) < most:
        key, call = queue[0]
        if key is not None and key in busy:
            break
        queue.popleft()
        begun = call()
        if not isinstance(begun, CoroutineType):
            return results, (key, partial(_itself, begun))
        try:
            waits_for = begun.send(None)
        except StopIteration as ended:
            if isinstance(ended.value, Later):
                return results, (key, partial(_given, ended.value))
            results.append(ended.value)
        except BaseException as error:  # noqa: BLE001 -- raised again, where it would have been
            return results, (key, partial(_raise, error))
        else:
            return results, (key, partial(Begun, begun, waits_for))
    return results, None


def _itself(awaitable: Awaitable[Any]) -> Awaitable[Any]:
    return awaitable


async def _given(value: Any) -> Any:
    return value


async def _raise(error: BaseException) -> Any:
    raise error


def lane(item: str | Call) -> str:
    return item[0] if isinstance(item, str) else item.name[0]


def whole_name(call: Call) -> str:
    return call.name


def sleeper(name: str, delay_s: float) -> Callable[[], Awaitable[str]]:
    async def call() -> str:
        await asyncio.sleep(delay_s)
        return name

    return call


async def test_results_come_in_completion_order() -> None:
    calls = [sleeper("slow", 3), sleeper("quick", 1), sleeper("middle", 2)]

    results = await streams.iter(calls).buffer_unordered(3).collect()

    assert results == ["quick", "middle", "slow"]
    assert asyncio.get_running_loop().time() == 3.0


async def test_ten_one_second_calls_two_at_a_time_take_five_seconds() -> None:
    calls = [sleeper(str(n), 1) for n in range(10)]

    results = await streams.iter(calls).buffer_unordered(2).collect()

    assert len(results) == 10
    assert asyncio.get_running_loop().time() == 5.0


async def test_a_thousand_calls_at_once_take_as_long_as_one() -> None:
    calls = [sleeper(str(n), 1) for n in range(1000)]

    results = await streams.iter(calls).buffer_unordered(1000).collect()

    assert len(results) == 1000
    assert asyncio.get_running_loop().time() == 1.0


@pytest.mark.parametrize("asked", ["one by one", "in chunks"])
async def test_str_09_a_finished_result_occupies_its_slot_until_it_is_taken(asked: str) -> None:
    calls = Calls()
    names = [f"c{n}" for n in range(6)]
    stream = streams.iter([calls(name) for name in names]).buffer_unordered(2)
    taken = stream.by_ref() if asked == "one by one" else stream
    async with stream:
        first = asyncio.get_running_loop().create_task(anext(taken))
        await settle()
        assert calls.started == ["c0", "c1"]
        calls.finish("c0")
        assert await first == "c0"
        await settle()
        calls.finish("c1")
        await settle()
        before = len(calls.started)

        if "c2" in calls.started:
            calls.finish("c2")
        await settle()

        assert len(calls.started) == before  # nobody takes results, so nothing starts
        assert calls.running + len(calls.finished) - 1 <= 2


@pytest.mark.parametrize("limit", [0, -1])
def test_str_10_a_limit_of_zero_is_refused_instead_of_hanging(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        streams.iter([sleeper("a", 1)]).buffer_unordered(limit)


def test_lanes_need_room_for_an_item_that_waits() -> None:
    with pytest.raises(ValueError, match="max_waiting"):
        streams.iter([sleeper("a", 1)]).buffer_unordered(1, ordered_by=lambda _: 1, max_waiting=0)


async def test_ready_items_pass_in_whole_lists() -> None:
    chunks: list[list[int]] = []

    await (
        streams.iter(range(600))
        .buffer_unordered(1000, ordered_by=lambda n: n % 2)
        .for_each_chunk(chunks.append)
    )

    assert [len(chunk) for chunk in chunks] == [256, 256, 88]


async def test_more_ready_items_than_slots_pass_in_one_list_too() -> None:
    chunks: list[list[int]] = []

    await (
        streams.iter(range(200)).buffer_unordered(2, max_waiting=500).for_each_chunk(chunks.append)
    )

    assert chunks == [list(range(200))]


async def test_a_ready_item_overtakes_what_runs_in_another_lane() -> None:
    calls = Calls()
    items: list[Call | str] = [calls("a1"), "b1"]
    stream = streams.iter(items).buffer_unordered(2, ordered_by=lane)

    async with stream:
        assert await anext(stream) == "b1"
        rest = asyncio.get_running_loop().create_task(stream.collect())
        await settle()
        calls.finish("a1")
        assert await rest == ["a1"]


async def test_a_ready_item_queues_behind_its_busy_lane() -> None:
    calls = Calls()
    items: list[Call | str] = [calls("a1"), "a2", "b1"]
    stream = streams.iter(items).buffer_unordered(2, ordered_by=lane)

    collected = asyncio.get_running_loop().create_task(stream.collect())
    await settle()
    calls.finish("a1")

    assert await collected == ["b1", "a1", "a2"]


async def test_of_one_lane_one_is_in_flight_in_the_order_of_the_source() -> None:
    calls = Calls()
    stream = streams.iter([calls(n) for n in ("a1", "a2", "b1", "a3")]).buffer_unordered(
        10, ordered_by=lane
    )
    collected = asyncio.get_running_loop().create_task(stream.collect())
    await settle()
    assert calls.started == ["a1", "b1"]

    calls.finish("a1")
    await settle()
    assert calls.started == ["a1", "b1", "a2"]
    calls.finish("a2", "b1")
    await settle()
    calls.finish("a3")

    assert await collected == ["a1", "a2", "b1", "a3"]


async def test_a_lane_of_none_is_no_lane() -> None:
    calls = [sleeper(str(n), 1) for n in range(5)]

    await streams.iter(calls).buffer_unordered(5, ordered_by=lambda _: None).collect()

    assert asyncio.get_running_loop().time() == 1.0


async def test_the_lane_of_an_item_is_asked_once() -> None:
    asked = Counter[str]()

    def ask(item: str | Call) -> Hashable:
        asked[lane(item)] += 1
        return lane(item)[0]

    async def call() -> str:
        return "x"

    class Named(Call):
        async def __call__(self) -> str:
            return await call()

    names = [f"{letter}{n}" for n in range(100) for letter in "ab"]
    calls = Calls()
    await streams.iter([Named(calls, n) for n in names]).buffer_unordered(3, ordered_by=ask).count()

    assert asked == {"a": 100, "b": 100}


async def test_the_source_is_not_pulled_beyond_the_bound() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"a{n}") for n in range(100)))
    stream = ReceiverStream(feed).buffer_unordered(4, ordered_by=lane, max_waiting=8)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert calls.started == ["a0"]
        assert 100 - len(feed.items) <= 1 + 8
        pulling.cancel()


async def test_no_more_calls_than_can_soon_start_are_taken_far_ahead_of_their_turn() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"{n}") for n in range(5000)))
    stream = ReceiverStream(feed).buffer_unordered(4, ordered_by=whole_name, max_waiting=5000)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert calls.running == 4
        assert 5000 - len(feed.items) <= 4 + 4 + CHUNK
        pulling.cancel()


async def test_behind_a_busy_lane_the_whole_waiting_room_is_used() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"a{n}") for n in range(2000)), calls("b1"))
    stream = ReceiverStream(feed).buffer_unordered(4, ordered_by=lane, max_waiting=2000)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert calls.started == ["a0", "b1"]
        pulling.cancel()


async def test_without_waiting_room_only_items_with_a_slot_are_taken() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"a{n}") for n in range(100)))
    stream = ReceiverStream(feed).buffer_unordered(4, max_waiting=0)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert len(calls.started) == 4
        assert len(feed.items) == 96
        pulling.cancel()


async def test_a_small_waiting_room_does_not_cost_concurrency() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"{letter}1") for letter in "abcdefgh"))
    stream = ReceiverStream(feed).buffer_unordered(8, ordered_by=lane, max_waiting=1)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert calls.running == 8
        pulling.cancel()


async def test_finished_results_do_not_wait_for_the_source() -> None:
    feed = Feed(sleeper("a", 1))
    stream = ReceiverStream(feed).buffer_unordered(4)

    async with stream:
        assert await anext(stream) == "a"
        assert asyncio.get_running_loop().time() == 1.0


async def test_the_source_is_read_while_calls_run() -> None:
    feed = Feed(sleeper("slow", 10))
    stream = ReceiverStream(feed).buffer_unordered(4)
    async with stream:
        first = asyncio.get_running_loop().create_task(anext(stream))
        await asyncio.sleep(1)

        feed.push(sleeper("quick", 1))

        assert await first == "quick"
        assert asyncio.get_running_loop().time() == 2.0


async def test_a_later_call_frees_its_slot_and_keeps_its_lane() -> None:
    order: list[str] = []

    def attempt(name: str, failures: int) -> Callable[[], Awaitable[str | Later[str]]]:
        async def call() -> str | Later[str]:
            order.append(name)
            await asyncio.sleep(1)
            return Later(10, attempt(name, failures - 1)) if failures else name

        return call

    work = {"a1": attempt("a1", 2), "a2": attempt("a2", 0), "b1": attempt("b1", 0)}
    names = {call: name for name, call in work.items()}
    stream = streams.iter(list(work.values())).buffer_unordered(
        1, ordered_by=lambda call: names[call][0]
    )

    results = await stream.collect()

    assert results == ["b1", "a1", "a2"]
    assert order == ["a1", "b1", "a1", "a1", "a2"]
    assert asyncio.get_running_loop().time() == 1 + 10 + 1 + 10 + 1 + 1


async def test_parked_calls_count_as_waiting() -> None:
    def parked() -> Callable[[], Awaitable[str | Later[str]]]:
        async def call() -> str | Later[str]:
            return Later(1000, sleeper("late", 0))

        return call

    feed = Feed(*(parked() for _ in range(100)))
    stream = ReceiverStream(feed).buffer_unordered(2, max_waiting=6)

    async with stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        assert 100 - len(feed.items) <= 2 + 6
        pulling.cancel()


class _Endless(Stage["Call | str"]):
    """A call, then results that are always ready and never let the event loop turn."""

    def __init__(self, first: Call) -> None:
        super().__init__()
        self.pulled = 0
        self._first: list[Call | str] = [first]

    async def _pull(self, limit: int) -> list[Call | str]:
        first, self._first = self._first, []
        chunk = first or ["ready"] * min(limit, 10)
        self.pulled += len(chunk)
        return chunk


async def test_results_that_are_ready_are_not_hoarded_behind_a_call_that_runs() -> None:
    source = _Endless(Calls()("slow"))
    async with Stream(source).buffer_unordered(2) as stream:
        assert await anext(stream) == "ready"

        assert source.pulled <= 11


async def test_calls_that_need_not_wait_for_their_lane_run_in_the_order_of_arrival() -> None:
    calls = Calls()
    names = ["a1", "b1", "c1", "a2"]
    stream = streams.iter([calls(name) for name in names]).buffer_unordered(1, ordered_by=lane)
    collected = asyncio.get_running_loop().create_task(stream.collect())

    for _ in names:
        await settle()
        calls.finish(calls.started[-1])

    assert await collected == names


async def test_what_has_waited_for_its_lane_goes_before_what_came_after_it() -> None:
    calls = Calls()
    names = ["a1", "a2", "b1", "c1", "d1"]
    stream = streams.iter([calls(name) for name in names]).buffer_unordered(2, ordered_by=lane)
    collected = asyncio.get_running_loop().create_task(stream.collect())
    await settle()
    assert calls.started == ["a1", "b1"]

    for name in ("a1", "a2", "b1", "c1", "d1"):
        calls.finish(name)
        await settle()

    assert calls.started == ["a1", "b1", "a2", "c1", "d1"]
    assert await collected == names


async def test_a_long_queue_of_one_lane_does_not_idle_the_other_slots() -> None:
    calls = Calls()
    feed = Feed(*(calls(f"a{n}") for n in range(15)))
    async with ReceiverStream(feed).buffer_unordered(8, ordered_by=lane, max_waiting=16) as stream:
        pulling = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        feed.push(calls("b1"))
        await settle()

        assert calls.started == ["a0", "b1"]
        pulling.cancel()


async def test_an_exception_of_a_call_ends_the_stream_and_cancels_the_rest() -> None:
    calls = Calls()
    stream = streams.iter([calls("a"), calls("b"), calls("c")]).buffer_unordered(2)
    collected = asyncio.get_running_loop().create_task(stream.collect())
    await settle()

    calls.fail("a", RuntimeError("broken"))

    with pytest.raises(RuntimeError, match="broken"):
        await collected
    assert calls.cancelled == ["b"]
    assert calls.started == ["a", "b"]


async def test_results_before_an_exception_come_first_and_the_end_after_it() -> None:
    async def fail() -> str:
        raise RuntimeError("broken")

    stream = streams.iter([sleeper("a", 1), fail]).buffer_unordered(1)

    assert await anext(stream) == "a"
    with pytest.raises(RuntimeError, match="broken"):
        await anext(stream)
    assert [item async for item in stream] == []


async def test_a_cancellation_inside_a_call_is_an_error_and_never_an_item() -> None:
    async def cancelled_inside() -> str:
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        await future
        return "unreachable"

    with pytest.raises(StreamError, match="cancelled from inside"):
        await streams.iter([cancelled_inside]).buffer_unordered(2).collect()


async def test_an_exception_of_the_source_comes_after_the_results_before_it() -> None:
    def source() -> Iterator[Callable[[], Awaitable[str]]]:
        yield sleeper("a", 0)
        raise RuntimeError("no more")

    stream = streams.iter(source()).buffer_unordered(4)

    assert await anext(stream) == "a"
    with pytest.raises(RuntimeError, match="no more"):
        await anext(stream)


async def test_an_exception_of_ordered_by_ends_the_stream() -> None:
    def ask(_: object) -> Hashable:
        raise RuntimeError("no lane")

    with pytest.raises(RuntimeError, match="no lane"):
        await streams.iter([sleeper("a", 1)]).buffer_unordered(2, ordered_by=ask).collect()


async def test_a_lane_that_is_no_key_ends_the_stream() -> None:
    lanes: Any = iter((1, [2], 1))  # a list cannot be the key of anything

    calls = [sleeper(name, 1) for name in "abc"]
    stream = streams.iter(calls).buffer_unordered(2, ordered_by=lambda _: next(lanes))

    with pytest.raises(TypeError, match="unhashable"):
        await stream.collect()


@pytest.mark.parametrize("stray", [0, 1, 2])
async def test_a_stray_stop_iteration_of_ordered_by_does_not_swallow_calls(stray: int) -> None:
    calls = [partial(asyncio.sleep, 0, number) for number in range(3)]

    def lane(call: Any) -> int:
        return next(iter(())) if call is calls[stray] else 0

    with pytest.raises(RuntimeError, match="StopIteration"):
        await streams.iter(calls).buffer_unordered(3, ordered_by=lane).collect()


async def test_str_20_closing_cancels_and_awaits_what_runs_and_starts_nothing_more() -> None:
    calls = Calls()
    stream = streams.iter([calls(n) for n in "abcdef"]).buffer_unordered(3)
    pulling = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    pulling.cancel()

    await stream.aclose()

    assert sorted(calls.cancelled) == ["a", "b", "c"]
    assert calls.started == ["a", "b", "c"]
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [item async for item in stream] == []


async def test_closing_drops_parked_calls() -> None:
    attempts = 0

    async def again() -> str | Later[str]:
        nonlocal attempts
        attempts += 1
        return Later(5, again)

    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: complaints.append(what))
    stream = streams.iter([again]).buffer_unordered(1)
    pulling = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    pulling.cancel()

    await stream.aclose()

    await asyncio.sleep(60)
    assert attempts == 1
    assert complaints == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_closes_coroutines_that_were_pulled_and_not_accepted() -> None:
    async def work() -> int:
        return 1

    feed = Feed(work())
    stream = ReceiverStream(feed).buffer_unordered(1)
    assert await anext(stream) == 1
    feed.push(sleeping := asyncio.sleep(1000, 2))
    waiting = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    waiting.cancel()
    await settle()
    del sleeping
    feed.push(work())
    await settle()

    await stream.aclose()  # a coroutine that is not closed would warn, and fail the test
    gc.collect()


async def test_closing_closes_coroutines_that_did_not_run() -> None:
    async def work() -> int:
        await asyncio.sleep(1)
        return 1

    stream = streams.iter([work() for _ in range(5)]).buffer_unordered(1, ordered_by=lambda _: 1)
    pulling = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    pulling.cancel()

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        await stream.aclose()
        gc.collect()


async def test_a_coroutine_is_run_like_a_call() -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(number)
        return number

    results = await streams.iter([work(2), work(1)]).buffer_unordered(2).collect()

    assert results == [1, 2]


async def test_a_cancelled_wait_loses_no_result() -> None:
    stream = streams.iter([sleeper(str(n), 1) for n in range(4)]).buffer_unordered(2)
    results: list[str] = []

    async with stream:
        while len(results) < 4:
            try:
                async with asyncio.timeout(0.3):
                    results.append(await anext(stream))
            except TimeoutError:
                pass

    assert sorted(results) == ["0", "1", "2", "3"]


async def test_a_second_consumer_is_refused() -> None:
    stream = streams.iter([sleeper("a", 1)]).buffer_unordered(1)
    async with stream:
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await settle()

        with pytest.raises(StreamError, match="another task"):
            await anext(stream)

        waiting.cancel()


async def test_calls_that_never_wait_use_no_more_than_two_workers() -> None:
    async def call() -> int:
        return len(asyncio.all_tasks())

    tasks = await streams.iter([call] * 10_000).buffer_unordered(1000).collect()

    assert max(tasks) <= 4  # the test, two workers and the pull of the source


async def test_forgetting_a_running_stream_warns() -> None:
    stream = streams.iter([sleeper("a", 1000)]).buffer_unordered(1)
    pulling = asyncio.get_running_loop().create_task(anext(stream))
    await settle()
    pulling.cancel()
    await settle()
    stage = stream._stage

    del pulling
    with pytest.warns(ResourceWarning, match="aclose"):
        del stream

    await stage.aclose()


@given(
    st.integers(1, 4),
    st.integers(1, 6),
    st.lists(st.tuples(st.sampled_from("abc-"), st.integers(0, 3), st.integers(0, 2))),
    st.integers(0, 2**32),
)
def test_order_bound_and_completeness_hold_under_random_cancellation(
    limit: int, max_waiting: int, jobs: list[tuple[str, int, int]], seed: int
) -> None:
    """Every job gives one result; lanes keep order; the bounds hold; cancels lose nothing."""
    plan = _Plan(limit, max_waiting, jobs, random.Random(seed))

    virtual_time.run(plan.main())

    assert sorted(number for _, number in plan.received) == list(range(len(jobs)))
    for name in "abc":
        mine = [number for other, number in plan.received if other == name]
        assert mine == sorted(mine)
        assert plan.started[name] == mine


class _Plan:
    """Random jobs under a consumer that is cancelled at random; checks the bounds all the time."""

    def __init__(
        self,
        limit: int,
        max_waiting: int,
        jobs: list[tuple[str, int, int]],
        chance: random.Random,
    ) -> None:
        self.received: list[tuple[str, int]] = []
        self.started: defaultdict[str, list[int]] = defaultdict(list)
        self._limit = limit
        self._max_waiting = max_waiting
        self._jobs = jobs
        self._chance = chance
        self._running: Counter[str] = Counter()
        self._pulled = 0

    async def main(self) -> None:
        jobs = [_Job(self, number, *spec) for number, spec in enumerate(self._jobs)]
        stream = (
            streams.iter(jobs)
            .inspect(self._count_pulled)
            .buffer_unordered(
                self._limit,
                ordered_by=lambda job: None if job.name == "-" else job.name,
                max_waiting=self._max_waiting,
            )
        )
        async with stream:
            while await self._receive(stream):
                pass

    async def _receive(self, stream: Stream[tuple[str, int]]) -> bool:
        try:
            async with asyncio.timeout(self._chance.choice([0, 0.5, 1, 5])):
                self.received.append(await anext(stream))
        except StopAsyncIteration:
            return False
        except TimeoutError:
            pass
        return True

    def _count_pulled(self, _: object) -> None:
        self._pulled += 1
        # In slots, in the consumer's chunk, and waiting.
        most = max(self._limit, buffer_unordered.AT_ONCE) if ByHand.at_work else self._limit
        assert self._pulled - len(self.received) <= 2 * most + self._max_waiting

    async def run(self, job: "_Job") -> tuple[str, int] | Later[tuple[str, int]]:
        assert job.name == "-" or not self._running[job.name]
        if not job.started:
            job.started = True
            self.started[job.name].append(job.number)
        self._running[job.name] += 1
        assert self._running.total() <= self._limit
        for _ in range(job.steps):
            await asyncio.sleep(self._chance.choice([0, 1]))
        self._running[job.name] -= 1
        if job.retries:
            job.retries -= 1
            return Later(self._chance.random(), job)
        return job.name, job.number


class _Job:
    def __init__(self, plan: _Plan, number: int, name: str, steps: int, retries: int) -> None:
        self.number = number
        self.name = name
        self.steps = steps
        self.retries = retries
        self.started = False
        self._plan = plan

    async def __call__(self) -> tuple[str, int] | Later[tuple[str, int]]:
        return await self._plan.run(self)


@pytest.mark.real_loops
async def test_lanes_hold_on_real_loops() -> None:
    seen: defaultdict[int, list[int]] = defaultdict(list)

    class Job:
        def __init__(self, number: int) -> None:
            self.number = number

        async def __call__(self) -> int:
            await asyncio.sleep(0)  # lets the other workers run
            seen[self.number % 7].append(self.number)
            return self.number

    stream = streams.iter([Job(n) for n in range(500)]).buffer_unordered(
        20, ordered_by=lambda job: job.number % 7
    )

    results = await stream.collect()

    assert sorted(results) == list(range(500))
    assert all(numbers == sorted(numbers) for numbers in seen.values())

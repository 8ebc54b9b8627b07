"""Both buffers under calls that wait, fail, or swallow their cancellation, and a moody consumer."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import streams
from service.streams import Stream
from service.testing import virtual_time
from tests.unit.streams.feed import settle

Buffer = Callable[[Stream[Any], int], Stream[Any]]
BUFFERS: dict[str, Buffer] = {
    "buffered": lambda calls, limit: calls.buffered(limit),
    "buffer_unordered": lambda calls, limit: calls.buffer_unordered(limit),
    "two lanes": lambda calls, limit: calls.buffer_unordered(
        limit, ordered_by=lambda call: call.args[0] % 2, max_waiting=3
    ),
}


@dataclass
class Run:
    """What is planned, and what became of it."""

    kinds: list[str]
    delays_s: list[float]
    limit: int
    running: set[int] = field(default_factory=set)
    started: list[int] = field(default_factory=list)
    peak: int = 0

    async def call(self, number: int) -> int:
        self.started.append(number)
        self.running.add(number)
        self.peak = max(self.peak, len(self.running))
        try:
            await asyncio.sleep(self.delays_s[number])
        except asyncio.CancelledError:
            if self.kinds[number] != "deaf":
                raise
            await asyncio.sleep(1)  # and it takes its time
        finally:
            self.running.discard(number)
        if self.kinds[number] == "fails":
            raise ValueError(number)
        return number


async def consume(
    run: Run, buffer: Buffer, patience_s: list[float], close_after: int | None
) -> tuple[list[int], int | None]:
    """The results until the end, or until the stream is closed; and whose exception ended it."""
    results: list[int] = []
    failed: int | None = None
    calls = [partial(run.call, number) for number in range(len(run.kinds))]
    async with buffer(streams.iter(calls), run.limit) as stream:
        turns = 0
        while close_after is None or turns < close_after:
            wait_s = patience_s[turns] if turns < len(patience_s) else None
            turns += 1
            try:
                async with asyncio.timeout(wait_s):
                    results.append(await anext(stream))
            except TimeoutError:
                continue
            except StopAsyncIteration:
                break
            except ValueError as error:
                failed = error.args[0]
                assert [item async for item in stream] == []
                break
    assert not run.running
    await settle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    return results, failed


@pytest.mark.parametrize("name", BUFFERS)
@given(
    jobs=st.lists(
        st.tuples(
            st.sampled_from(["answers", "answers", "answers", "deaf", "fails"]),
            st.sampled_from([0, 0.5, 1, 2.5]),
        ),
        max_size=12,
    ),
    limit=st.integers(1, 4),
    patience_s=st.lists(st.sampled_from([0, 0.25, 0.5, 1]), max_size=12),
    close_after=st.none() | st.integers(0, 15),
)
def test_bound_order_and_completeness_hold_for_calls_that_do_not_behave(
    name: str,
    jobs: list[tuple[str, float]],
    limit: int,
    patience_s: list[float],
    close_after: int | None,
) -> None:
    run = Run([kind for kind, _ in jobs], [delay_s for _, delay_s in jobs], limit)

    results, failed = virtual_time.run(consume(run, BUFFERS[name], patience_s, close_after))

    assert run.peak <= limit
    assert len(set(run.started)) == len(run.started)
    assert len(set(results)) == len(results)
    assert all(run.kinds[number] != "fails" for number in results)
    if name != "two lanes":
        assert run.started == sorted(run.started)
    for lane in [0, 1] if name == "two lanes" else [0] if name == "buffered" else []:
        step = 2 if name == "two lanes" else 1
        in_lane = [number for number in results if number % step == lane % step]
        assert in_lane == sorted(in_lane)
    if failed is not None:
        assert run.kinds[failed] == "fails"
    elif close_after is None:
        assert "fails" not in run.kinds
        assert sorted(results) == list(range(len(jobs)))

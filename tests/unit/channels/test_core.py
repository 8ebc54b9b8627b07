"""Compares a channel with the obvious model: a deque, a counter, and a line of people."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.channels import Permit, channel
from service.channels.core import Core
from service.errors import ChannelClosedError, ChannelEmptyError, ChannelFullError
from service.testing.virtual_time import VirtualTimeLoop

TICKS = st.integers(0, 4)


@dataclass(eq=False)
class _InLine:
    """One request of the model: items to send, or slots to reserve when there are none."""

    task: asyncio.Task[Any]
    items: list[int] = field(default_factory=list)
    slots: int = 1
    collected: int = 0


class ChannelMachine(RuleBasedStateMachine):
    """Every operation of both ends, with a cancel at any of its steps.

    After each rule the loop runs until every task waits, and the model does the same: whoever is
    at the head of the line collects free slots; then those who have all of theirs act, in their
    order; then the waiting receiver takes.  What a cancelled task did is read off its outcome.
    """

    @initialize(capacity=st.integers(1, 4))
    def make(self, capacity: int) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.runner.run(self._make(capacity))
        self.capacity = self.free = capacity
        self.buffer: deque[int] = deque()
        self.line: list[_InLine] = []
        self.permits: list[Permit[int]] = []
        self.receiving: tuple[asyncio.Task[Any], int] | None = None
        self.received: list[int] = []
        self.expected: list[int] = []
        self.closed = False
        self.next_item = 0
        self.sent_count = 0

    async def _make(self, capacity: int) -> None:
        self.tx, self.rx = channel[int](capacity)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            for permit in self.permits:
                permit.release()
            self.tx.close()
            self.rx.drop()
            self.runner.close()

    # -- sending ---------------------------------------------------------------------------

    @rule()
    def send(self) -> None:
        item = self._item()
        self._line_up(self.tx.send(item), items=[item])

    @rule(count=st.integers(0, 7))
    def send_many(self, count: int) -> None:
        items = [self._item() for _ in range(count)]
        self._line_up(self.tx.send_many(items), items=items)

    @rule(count=st.integers(0, 4))
    def reserve_many(self, count: int) -> None:
        if count <= self.capacity:
            self._line_up(self.tx.reserve_many(count), slots=count)

    @rule()
    def try_send(self) -> None:
        item = self._item()
        outcome = self._outcome(lambda: self.tx.try_send(item))
        if self.closed:
            assert outcome is ChannelClosedError
        elif self.line or not self.free:
            assert outcome is ChannelFullError
        else:
            assert outcome is None
            self._append(item)
            self.free -= 1
        self._quiesce()

    @precondition(lambda self: self.permits)
    @rule()
    def use_a_permit(self) -> None:
        item = self._item()
        self.permits.pop().send(item)
        self._append(item)
        self._quiesce()

    @precondition(lambda self: self.permits)
    @rule()
    def release_a_permit(self) -> None:
        self.permits.pop().release()
        self.free += 1
        self._quiesce()

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def cancel_someone_in_line(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.line))
        request.task.cancel()
        self.line.remove(request)
        self.free += request.collected
        self._quiesce()
        assert request.task.cancelled()

    @rule(ticks=TICKS)
    def send_and_cancel(self, ticks: int) -> None:
        item = self._item()
        sending = self._start(self.tx.send(item))
        self.runner.run(_ticks(ticks))
        sending.cancel()
        self.runner.run(_ticks(5))
        if not sending.cancelled() and sending.exception() is None:
            self._append(item)
            self.free -= 1
        self._quiesce()

    # -- receiving -------------------------------------------------------------------------

    @precondition(lambda self: self.receiving is None)
    @rule(limit=st.integers(1, 6))
    def recv_many(self, limit: int) -> None:
        self.receiving = (self._start(self.rx.recv_many(self.received, limit)), limit)
        self._quiesce()

    @precondition(lambda self: self.receiving is None)
    @rule()
    def recv(self) -> None:
        self.receiving = (self._start(self._recv()), 1)
        self._quiesce()

    @precondition(lambda self: self.receiving is None)
    @rule()
    def try_recv(self) -> None:
        if self.buffer:
            self.received.append(self.rx.try_recv())
            self._take(1)
        else:
            outcome = self._outcome(self.rx.try_recv)
            assert outcome is (ChannelClosedError if self._finished() else ChannelEmptyError)
        self._quiesce()

    @precondition(lambda self: self.receiving is None)
    @rule(ticks=TICKS)
    def recv_and_cancel(self, ticks: int) -> None:
        before = len(self.received)
        receiving = self._start(self._recv())
        self.runner.run(_ticks(ticks))
        receiving.cancel()
        self.runner.run(_ticks(5))
        if len(self.received) > before:
            self._take(1)
        self._quiesce()

    @precondition(lambda self: self.receiving is not None)
    @rule()
    def cancel_the_receiver(self) -> None:
        assert self.receiving is not None
        task, _ = self.receiving
        task.cancel()
        self.receiving = None
        self._quiesce()
        assert task.cancelled()

    @precondition(lambda self: not self.closed)
    @rule()
    def close(self) -> None:
        self.rx.close()
        self.closed = True
        failed, self.line = self.line, []
        self.free += sum(request.collected for request in failed)
        self._quiesce()
        assert all(isinstance(request.task.exception(), ChannelClosedError) for request in failed)

    # -- what must hold --------------------------------------------------------------------

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "runner"):
            return
        statistics = self.rx.statistics()
        assert self.received == self.expected
        assert len(self.rx) == len(self.buffer) <= self.capacity
        assert self.tx.capacity == self.free
        assert statistics.waiting_senders == len(self.line)
        assert statistics.permits_out == self.capacity - self.free - len(self.buffer)
        assert statistics.sent_count == self.sent_count
        assert statistics.received_count == len(self.expected)
        assert self.rx.is_finished == self._finished()

    # -- the model -------------------------------------------------------------------------

    def _quiesce(self) -> None:
        """Run tasks and model until nobody can go on."""
        while self._serve_the_line() or self._serve_the_receiver():
            pass
        self.runner.run(_ticks(30))
        for request in self.line:
            assert not request.task.done()

    def _serve_the_line(self) -> bool:
        complete: list[_InLine] = []
        while self.line and self.free:
            head = self.line[0]
            given = min(self.free, head.slots - head.collected)
            self.free -= given
            head.collected += given
            if head.collected < head.slots:
                break
            complete.append(self.line.pop(0))
        for request in complete:
            self._act(request)
        return bool(complete)

    def _act(self, request: _InLine) -> None:
        if not request.items:
            self.runner.run(_ticks(5))
            self.permits.extend(request.task.result())
            return
        more = 0 if self.line else min(self.free, len(request.items) - 1)
        self.free -= more
        for item in request.items[: 1 + more]:
            self._append(item)
        request.items = request.items[1 + more :]
        request.collected = 0
        if request.items:
            self.line.append(request)

    def _serve_the_receiver(self) -> bool:
        if self.receiving is None or not (self.buffer or self._finished()):
            return False
        _, limit = self.receiving
        self.receiving = None
        self._take(min(limit, len(self.buffer)))
        return True

    def _line_up(self, operation: Coroutine[Any, Any, Any], **request: Any) -> None:
        nothing = request in ({"items": []}, {"slots": 0})
        in_line = _InLine(self._start(operation), **request)
        if self.closed and request != {"items": []}:
            self.runner.run(_ticks(5))
            assert isinstance(in_line.task.exception(), ChannelClosedError)
        elif not nothing:
            self.line.append(in_line)
        self._quiesce()

    def _append(self, item: int) -> None:
        self.buffer.append(item)
        self.sent_count += 1

    def _take(self, count: int) -> None:
        self.expected.extend(self.buffer.popleft() for _ in range(count))
        self.free += count

    def _finished(self) -> bool:
        return self.closed and not self.buffer and self.free == self.capacity

    # -- tools -----------------------------------------------------------------------------

    async def _recv(self) -> None:
        self.received.append(await self.rx.recv())

    def _item(self) -> int:
        self.next_item += 1
        return self.next_item

    def _start(self, operation: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.runner.get_loop().create_task(_quietly(operation))

    def _outcome(self, operation: Any) -> type[BaseException] | None:
        try:
            operation()
        except (ChannelClosedError, ChannelFullError, ChannelEmptyError) as error:
            return type(error)
        return None


async def _quietly(operation: Coroutine[Any, Any, Any]) -> Any:
    """Let asyncio not complain that nobody looked at the error of a task."""
    current = asyncio.current_task()
    assert current is not None
    current.add_done_callback(lambda task: task.cancelled() or task.exception())
    return await operation


async def _ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)  # lets every task get one step further


TestChannelMachine = ChannelMachine.TestCase
TestChannelMachine.settings = settings(max_examples=100, stateful_step_count=30)


@pytest.mark.parametrize("capacity", [1, 7])
async def test_a_core_outside_of_any_loop_has_none(capacity: int) -> None:
    core: Core[int] = await asyncio.to_thread(Core, capacity)

    assert core.loop is None
    assert Core[int](capacity).loop is asyncio.get_running_loop()

"""Channels of every kind against the obvious model of each, with cancels at any step."""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from service.channels import Conflate, Overflow, Permit, broadcast, channel, watch
from service.channels.semaphore import Semaphore
from service.errors import (
    ChannelClosedError,
    ChannelEmptyError,
    ChannelFullError,
    LaggedError,
)
from service.testing.virtual_time import VirtualTimeLoop

MACHINES = settings(max_examples=100, stateful_step_count=30)
TICKS = st.integers(0, 3)


class _Looped(RuleBasedStateMachine):
    """A machine with a loop that runs only as far as a rule says."""

    runner: asyncio.Runner

    def start(self) -> None:
        self.runner = asyncio.Runner(loop_factory=VirtualTimeLoop)

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.end()
            self.runner.close()

    def end(self) -> None:
        """Close what the machine has open."""

    def task(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = self.runner.get_loop().create_task(_outcome(work))
        task.add_done_callback(lambda _: work.close())  # it may have been cancelled unstarted
        return task

    def ticks(self, count: int) -> None:
        self.runner.run(_ticks(count))


async def _ticks(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)  # lets every task get one step further


async def _outcome(work: Coroutine[Any, Any, Any]) -> Any:
    """What ``work`` returns, or the kind of channel error that it raises."""
    try:
        return await work
    except (ChannelClosedError, LaggedError) as error:
        return error


class SemaphoreMachine(_Looped):
    """Requests, releases and cancels that may all fall into one turn of the loop."""

    @initialize(capacity=st.integers(2, 5))
    def make(self, capacity: int) -> None:
        self.start()
        self.semaphore = Semaphore(capacity)
        self.held = 0
        self.line: list[tuple[asyncio.Task[Any], int]] = []

    def end(self) -> None:
        for request, _ in self.line:
            request.cancel()
        self.nobody_is_forgotten()
        assert self.held + self.semaphore.free == self.semaphore.capacity

    @rule(data=st.data())
    def acquire(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(0, self.semaphore.capacity))
        self.line.append((self.task(self.semaphore.acquire(count)), count))

    @rule(count=st.integers(0, 4))
    def try_acquire(self, count: int) -> None:
        if self.semaphore.try_acquire(count):
            self.held += count
            assert count == 0 or not self.semaphore.waiting

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, self.held))
        self.semaphore.release(count)
        self.held -= count

    @precondition(lambda self: self.line)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.line))[0].cancel()

    @precondition(lambda self: not self.semaphore.closed)
    @rule()
    def close(self) -> None:
        self.semaphore.close()

    @rule(count=st.integers(1, 3))
    def let_run(self, count: int) -> None:
        self.ticks(count)
        waiting: list[tuple[asyncio.Task[Any], int]] = []
        for request, wanted in self.line:
            if not request.done():
                waiting.append((request, wanted))
            elif not request.cancelled() and request.result() is None:
                self.held += wanted
                # none that is still in line came before it, unless it wanted nothing
                assert not waiting or wanted == 0
        self.line = waiting

    @invariant()
    def every_permit_is_somewhere(self) -> None:
        if not hasattr(self, "runner"):
            return
        assert self.semaphore.free >= 0
        assert not (self.semaphore.waiting and self.semaphore.free)
        assert self.held + self.semaphore.free <= self.semaphore.capacity

    @rule()
    def nobody_is_forgotten(self) -> None:
        self.let_run(3)
        collected = self.semaphore.capacity - self.held - self.semaphore.free
        assert 0 <= collected < (self.line[0][1] if self.line else 1)
        assert len(self.line) == self.semaphore.waiting
        assert not (self.line and self.semaphore.closed)


class BroadcastMachine(_Looped):
    """The model is the list of all items, and a place in it for each receiver."""

    @initialize(capacity=st.integers(1, 4))
    def make(self, capacity: int) -> None:
        self.start()
        self.capacity = capacity
        self.tx, first = broadcast.channel[int](capacity)
        self.sent = 0
        self.ended = False
        self.places: dict[broadcast.Receiver[int], int] = {first: 0}
        self.waiting: dict[broadcast.Receiver[int], tuple[asyncio.Task[Any], int]] = {}

    def end(self) -> None:
        self.tx.close()
        for receiver in self.places:
            receiver.close()
        self.ticks(3)

    @precondition(lambda self: not self.ended)
    @rule()
    def send(self) -> None:
        try:
            assert self.tx.send(self.sent) == len(self.places)
        except ChannelClosedError:
            assert not self.places
        else:
            self.sent += 1

    @precondition(lambda self: len(self.places) < 4)
    @rule()
    def subscribe(self) -> None:
        self.places[self.tx.subscribe()] = self.sent

    @precondition(lambda self: self.places)
    @rule(data=st.data(), limit=st.integers(1, 5), ticks=st.none() | TICKS)
    def receive(self, data: st.DataObject, limit: int, ticks: int | None) -> None:
        """With ``ticks``, it is cancelled after so many of them."""
        receiver = data.draw(st.sampled_from(list(self.places)))
        if receiver in self.waiting:
            return
        self.waiting[receiver] = self.task(_received(receiver, limit)), limit
        if ticks is not None:
            self.ticks(ticks)
            self.waiting[receiver][0].cancel()
        self.let_run()

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def try_receive(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(list(self.places)))
        if receiver in self.waiting:
            return
        try:
            self._took(receiver, [receiver.try_recv()], 1)
        except LaggedError as error:
            self._missed(receiver, error.missed)
        except ChannelEmptyError:
            assert self.places[receiver] == self.sent
            assert not self.ended
        except ChannelClosedError:
            assert self.places[receiver] == self.sent
            assert self.ended

    @precondition(lambda self: self.places)
    @rule(data=st.data())
    def close_a_receiver(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(list(self.places)))
        receiver.close()
        del self.places[receiver]
        if receiver in self.waiting:
            task, _ = self.waiting.pop(receiver)
            self.let_run()  # the others may go on meanwhile
            assert task.cancelled() or task.result() == []

    @precondition(lambda self: not self.ended)
    @rule()
    def close(self) -> None:
        self.tx.close()
        self.ended = True

    @rule()
    def let_run(self) -> None:
        self.ticks(4)
        for receiver, (task, limit) in list(self.waiting.items()):
            if not task.done():
                assert self.places[receiver] == self.sent
                assert not self.ended
                continue
            del self.waiting[receiver]
            if task.cancelled():
                continue
            found = task.result()
            if isinstance(found, LaggedError):
                self._missed(receiver, found.missed)
            elif found:
                self._took(receiver, found, limit)
            else:
                assert self.ended
                assert self.places[receiver] == self.sent

    def _took(self, receiver: broadcast.Receiver[int], items: list[int], limit: int) -> None:
        place = self.places[receiver]
        assert place >= self.sent - self.capacity
        assert 1 <= len(items) <= limit
        assert items == list(range(place, place + len(items)))
        self.places[receiver] += len(items)

    def _missed(self, receiver: broadcast.Receiver[int], missed: int) -> None:
        oldest = self.sent - self.capacity
        assert missed == oldest - self.places[receiver] > 0
        self.places[receiver] = oldest

    @invariant()
    def nobody_holds_more_than_is_kept(self) -> None:
        if hasattr(self, "runner"):
            assert self.tx.receiver_count == len(self.places)
            for receiver, place in self.places.items():
                assert len(receiver) == min(self.sent - place, self.capacity)


async def _received(receiver: broadcast.Receiver[int], limit: int) -> list[int]:
    items: list[int] = []
    await receiver.recv_many(items, limit)
    return items


class WatchMachine(_Looped):
    """The model is the latest value, and for each receiver the last one that it saw."""

    @initialize()
    def make(self) -> None:
        self.start()
        self.tx, first = watch.channel(0)
        self.latest = 0
        self.ended = False
        self.seen: dict[watch.Receiver[int], int] = {first: 0}
        self.waiting: dict[watch.Receiver[int], asyncio.Task[Any]] = {}

    def end(self) -> None:
        self.tx.close()
        for receiver in self.seen:
            receiver.close()
        self.ticks(3)

    @precondition(lambda self: not self.ended)
    @rule()
    def replace(self) -> None:
        self.latest += 1
        assert self.tx.replace(self.latest) == self.latest - 1

    @precondition(lambda self: len(self.seen) < 4)
    @rule()
    def subscribe(self) -> None:
        self.seen[self.tx.subscribe()] = self.latest

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(list(self.seen)))
        if receiver not in self.waiting:
            assert receiver.has_changed == (self.seen[receiver] != self.latest)
            self.seen[receiver] = receiver.take()
            assert self.seen[receiver] == self.latest

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), ticks=st.none() | TICKS)
    def changed(self, data: st.DataObject, ticks: int | None) -> None:
        """With ``ticks``, it is cancelled after so many of them."""
        receiver = data.draw(st.sampled_from(list(self.seen)))
        if receiver in self.waiting:
            return
        self.waiting[receiver] = self.task(receiver.changed())
        if ticks is not None:
            self.ticks(ticks)
            self.waiting[receiver].cancel()
        self.let_run()

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def close_a_receiver(self, data: st.DataObject) -> None:
        receiver = data.draw(st.sampled_from(list(self.seen)))
        receiver.close()
        del self.seen[receiver]
        if receiver in self.waiting:
            task = self.waiting.pop(receiver)
            self.let_run()  # the others may go on meanwhile
            assert task.cancelled() or isinstance(task.result(), ChannelClosedError)

    @precondition(lambda self: not self.ended)
    @rule()
    def close(self) -> None:
        self.tx.close()
        self.ended = True

    @rule()
    def let_run(self) -> None:
        self.ticks(4)
        for receiver, task in list(self.waiting.items()):
            if not task.done():
                assert self.seen[receiver] == self.latest
                assert not self.ended
                continue
            del self.waiting[receiver]
            if task.cancelled():
                continue
            if isinstance(task.result(), ChannelClosedError):
                assert self.ended
                assert self.seen[receiver] == self.latest
            else:
                assert self.seen[receiver] < task.result() == self.latest
                self.seen[receiver] = self.latest

    @invariant()
    def the_sender_knows_how_many_listen(self) -> None:
        if hasattr(self, "runner"):
            assert self.tx.receiver_count == len(self.seen)
            assert self.tx.is_closed == (not self.seen)


POLICIES = (
    Overflow.REJECT,
    Overflow.DROP_NEWEST,
    Overflow.DROP_OLDEST,
    Conflate(key=lambda item: item[0]),
    Conflate(key=lambda item: item[0], when_full=Overflow.REJECT),
    Conflate(key=lambda item: item[0], when_full=Overflow.DROP_NEWEST),
)
Item = tuple[int, int, int]
"""Key, weight, number."""


class OverflowMachine(_Looped):
    """Policies that never wait, with weights and permits; the model is a list of items."""

    @initialize(capacity=st.integers(1, 4), policy=st.sampled_from(POLICIES), weighed=st.booleans())
    def make(self, capacity: int, policy: Overflow | Conflate, weighed: bool) -> None:  # noqa: FBT001
        self.start()
        self.capacity = capacity
        self.key = policy.key if isinstance(policy, Conflate) else None
        self.policy = policy.when_full if isinstance(policy, Conflate) else policy
        self.weighed = weighed and self.key is None
        items_of = (lambda item: item[1]) if self.weighed else None
        self.tx, self.rx = channel[Item](capacity, items_of=items_of, overflow=policy)
        self.buffer: deque[Item] = deque()
        self.permits: list[Permit[Item]] = []
        self.number = 0
        self.lost = 0

    def end(self) -> None:
        for permit in self.permits:
            permit.release()
        self.tx.close()
        self.rx.drop()

    @rule(key=st.integers(0, 3), weight=st.integers(1, 6), by=st.sampled_from(["send", "try_send"]))
    def send(self, key: int, weight: int, by: str) -> None:
        item = self._item(key, weight)
        refused: object = None
        try:
            if by == "send":
                self.runner.run(self.tx.send(item))
            else:
                self.tx.try_send(item)
        except ChannelFullError as error:
            refused = error.item
        assert refused == (item if self._put(item) is False else None)

    @precondition(lambda self: not self.weighed)
    @rule()
    def try_reserve(self) -> None:
        try:
            self.permits.append(self.tx.try_reserve())
        except ChannelFullError:
            assert not self._free()

    @precondition(lambda self: self.permits)
    @rule(key=st.integers(0, 3))
    def use_a_permit(self, key: int) -> None:
        item = self._item(key, 1)
        self.permits.pop().send(item)
        if not self._conflate(item):
            self.buffer.append(item)

    @precondition(lambda self: self.buffer)
    @rule()
    def try_recv(self) -> None:
        assert self.rx.try_recv() == self.buffer.popleft()

    @precondition(lambda self: self.buffer)
    @rule(limit=st.integers(1, 3))
    def recv_many(self, limit: int) -> None:
        received: list[Item] = []
        count = self.runner.run(self.rx.recv_many(received, limit))
        assert received == [self.buffer.popleft() for _ in range(count)]
        assert count == limit or not self.buffer

    @invariant()
    def both_agree(self) -> None:
        if not hasattr(self, "runner"):
            return
        statistics = self.rx.statistics()
        assert len(self.rx) == len(self.buffer)
        assert self.rx.capacity == self._free()
        assert statistics.depth == sum(map(self._weight, self.buffer))
        assert statistics.dropped_count == self.lost
        assert statistics.sent_count == (
            statistics.received_count
            + statistics.buffered_count
            + statistics.dropped_oldest_count
            + statistics.conflated_count
        )

    # -- the model -------------------------------------------------------------------------

    def _item(self, key: int, weight: int) -> Item:
        self.number += 1
        return key, weight, self.number

    def _weight(self, item: Item) -> int:
        return min(item[1], self.capacity) if self.weighed else 1

    def _free(self) -> int:
        return self.capacity - len(self.permits) - sum(map(self._weight, self.buffer))

    def _conflate(self, item: Item) -> bool:
        for place, other in enumerate(self.buffer):
            if self.key is not None and other[0] == item[0]:
                self.buffer[place] = item
                self.lost += 1
                return True
        return False

    def _put(self, item: Item) -> bool | None:
        """Whether it was put; False if it is refused, None if it is dropped."""
        if self._conflate(item):
            return True
        while self._free() < self._weight(item):
            if self.policy is Overflow.REJECT:
                return False
            if self.policy is Overflow.DROP_NEWEST or not self.buffer:
                self.lost += 1
                return None
            self.buffer.popleft()
            self.lost += 1
        self.buffer.append(item)
        return True


TestSemaphoreMachine = SemaphoreMachine.TestCase
TestBroadcastMachine = BroadcastMachine.TestCase
TestWatchMachine = WatchMachine.TestCase
TestOverflowMachine = OverflowMachine.TestCase
TestSemaphoreMachine.settings = MACHINES
TestBroadcastMachine.settings = MACHINES
TestWatchMachine.settings = MACHINES
TestOverflowMachine.settings = MACHINES

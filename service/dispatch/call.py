"""One event on its way through one handler: what runs in a worker, as often as it takes."""

import asyncio
from collections.abc import Awaitable, Hashable
from enum import Enum
from typing import TYPE_CHECKING, Any

import msgspec

from service.events import Event, Outcome, RecordBatch
from service.streams import Child, Later

if TYPE_CHECKING:
    from service.dispatch.runner import Runner


class CallState(Enum):
    """What a call is doing."""

    RUNNING = "running"
    PARKED = "parked"


class Call(msgspec.Struct, eq=False):
    """A handler's call for one event; ``buffer_unordered`` runs it.

    Attributes:
        runner: What runs it.
        event: The event; its ``attempts`` count failed ones.
        lane: Its lane, or ``None``.
        away: It is not counted as dispatched, because it has not begun or is parked.
        wait_s: Wait this long before the first run; a retry that begins outside a worker.
        since_s: When the running attempt began (``loop.time()``).
        task: The task that runs it.
        transient: The last attempt failed in a way that may pass.
        answer: Where what comes of it goes if it is handled with one before it in its lane; see
            :mod:`service.dispatch.companions`.
    """

    runner: "Runner"
    event: Event
    lane: Hashable | None
    away: bool
    wait_s: float = 0.0
    since_s: float = 0.0
    task: asyncio.Task[Any] | None = None
    transient: bool = False
    answer: asyncio.Future[Any] | None = None

    def __call__(self) -> "Awaitable[Outcome | Later[Outcome | None] | None]":
        """Run one attempt.

        Returns:
            What becomes the outcome; ``Later`` to wait and run again with the lane held and the
            slot free; ``None`` when the event's partition was revoked.
        """
        return self._begin_later() if self.wait_s else self.runner.attempt(self)

    async def _begin_later(self) -> "Later[Outcome | None]":
        wait_s, self.wait_s = self.wait_s, 0.0
        return Later(wait_s, self)


def note_begun(call: Call, batch: RecordBatch) -> None:
    """An attempt of ``call`` begins."""
    if call.away:
        batch.take_up(call.event.index, call.runner.name)
        call.away = False
    elif batch.begun is not None:
        batch.begun[call.event.index] = 1
    call.transient = False


def set_aside(call: Call) -> None:
    """An attempt of ``call`` has ended, and another one follows."""
    call.event.batch.set_aside(call.event.index, call.runner.name)
    call.away = True


def is_over(task: asyncio.Task[Any] | None) -> bool:
    """Whether a coroutine has had its task cancelled and returned before that could arrive."""
    return isinstance(task, Child) and task.from_inside > 0 and task.undelivered


def has_begun(event: Event) -> bool:
    """Whether another handler has begun this record of several handlers."""
    begun = event.batch.begun
    return begun is not None and bool(begun[event.index])

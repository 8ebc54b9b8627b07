"""The tasks of one stage: started here, cancelled here, awaited here.

A task group is a block of code that waits for its tasks; a stage outlives the call that started
its tasks, and a generator must not yield from inside a task group (PEP 789).  So a stage owns
its tasks through this registry.  It is the one place of the package that creates tasks, and what
it promises is what a task group promises: none outlives its owner, and none fails unseen.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, cast


def _nobody() -> None:
    """Nobody waits for news."""


class Child(asyncio.Task[object]):
    """A task that tells the cancellations by those who own it from all others.

    The others come from inside: of the code that it runs, or of a task or a timer that this code
    has started; nobody else knows it.

    Args:
        work: What it runs.
        family: Those it belongs to; once they are told to stop, every cancellation is theirs.

    Attributes:
        from_inside: How many of the cancellations that count (``cancelling()``) are such others.
    """

    # No __slots__: a task has a dictionary anyway.
    def __init__(self, work: Coroutine[object, object, object], family: "Children") -> None:
        self.from_inside = 0
        self._family = family
        super().__init__(work, loop=asyncio.get_running_loop())

    def cancel(self, msg: object = None) -> bool:
        """See ``asyncio.Task.cancel``."""
        # whoever ends a loop cancels its tasks too, which it does while it does not run
        if not self._family.stopped and self.get_loop().is_running():
            self.from_inside += 1
        return super().cancel(msg)

    def uncancel(self) -> int:
        """See ``asyncio.Task.uncancel``."""
        left = super().uncancel()
        # what is taken back was asked for inside, by a timeout for one: an owner stays with it
        self.from_inside = min(max(0, self.from_inside - 1), left)
        return left

    @property
    def undelivered(self) -> bool:
        """Whether a cancellation waits for the next ``await``."""
        # typeshed leaves it out; both implementations of a task have it, 3.11 to 3.14
        waits: bool = cast("Any", self)._must_cancel  # noqa: SLF001 -- our own
        return waits

    async def take_back(self) -> None:
        """Let those from inside be over, also the one that waits for the next ``await``.

        Raises:
            CancelledError: If its owner has cancelled it too.
        """
        while True:
            for _ in range(self.from_inside):
                self.uncancel()
            if not self.undelivered:
                return
            try:
                await asyncio.sleep(0)  # nothing else clears it before Python 3.13
            except asyncio.CancelledError:
                if cancelled_by_others(self):
                    raise


class Children:
    """The tasks that one owner has running; empty until it starts the first.

    Args:
        wake: Makes whoever waits for the tasks look again; they call it when they have news.

    Attributes:
        wake: As given; called too when the tasks are told to stop, which is the end of waiting.
        stopped: Whether they were told to.  Then no other is started any more.
    """

    __slots__ = ("_tasks", "stopped", "wake")

    def __init__(self, wake: Callable[[], None] = _nobody) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self.stopped = False
        self.wake = wake

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, object]) -> None:
        """Run ``work`` until it ends by itself or the owner is closed.

        ``work`` reports its own failures to the owner; it must not raise.  It ends when it sees
        ``stopped``, even if what it runs has swallowed the cancellation.
        """
        # Not a TaskGroup: the owner is a stage, whose life is not that of one block of code.
        # Not the loop's factory: an eager one would run the work before its owner waits for it.
        task = Child(work, self)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Ask every task to stop, once: asking again would disturb it while it cleans up."""
        if not self.stopped:
            self.stopped = True
            for task in self._tasks:
                task.cancel()
            self.wake()

    async def dismiss(self) -> None:
        """Cancel every task and wait until all have ended, unless the wait is cancelled.

        Cancel safety: a cancelled call stops waiting at once and may be repeated.
        """
        if self._tasks:
            self.cancel()
            await asyncio.wait(tuple(self._tasks))

    def others(self) -> set[asyncio.Task[object]]:
        """All of them but the one that asks."""
        return self._tasks - {asyncio.current_task()}


async def end_all(families: Iterable[Children]) -> None:
    """Cancel every task of ``families`` and wait until all have ended, whatever happens.

    A task that is itself one of them does not wait for itself: it is cancelled where it awaits
    next.

    Cancel safety: when this call is cancelled it still waits for the tasks, which are ending
    anyway, and raises only then; no task is left behind.
    """
    cancelled: asyncio.CancelledError | None = None
    families = tuple(families)
    tasks = {task for children in families for task in children.others()}
    for children in families:
        children.cancel()
    while any(not task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def was_cancelled() -> bool:
    """Whether somebody cancelled the current task, be it its owner or not.

    If not, the cancellation that it sees comes from something that it awaits, which is a failure
    of that thing and must not pass for the task's own end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def cancelled_by_others(task: asyncio.Task[Any]) -> int:
    """How often ``task`` was cancelled, those cancellations left out that come from inside."""
    cancelled = task.cancelling()
    return cancelled - task.from_inside if isinstance(task, Child) else cancelled

"""The tasks of one stage: started here, cancelled here, awaited here.

A task group is a block of code that waits for its tasks; a stage outlives the call that started
its tasks, and a generator must not yield from inside a task group (PEP 789).  So a stage owns
its tasks through this registry.  It is the one place of the package that creates tasks, and what
it promises is what a task group promises: none outlives its owner, and none fails unseen.
"""

import asyncio
from collections.abc import Coroutine


class Children:
    """The tasks that one owner has running; empty until it starts the first."""

    __slots__ = ("_cancelled", "_tasks")

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._cancelled: set[asyncio.Task[object]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[object, object, object]) -> None:
        """Run ``work`` until it ends by itself or the owner is closed.

        ``work`` reports its own failures to the owner; it must not raise.
        """
        # Not a TaskGroup: the owner is a stage, whose life is not that of one block of code.
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def cancel(self) -> None:
        """Ask every task to stop, once: asking again would disturb it while it cleans up."""
        for task in self._tasks - self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    async def dismiss(self) -> None:
        """Cancel every task and wait until all have ended, unless the wait is cancelled.

        Cancel safety: a cancelled call stops waiting at once and may be repeated.
        """
        if self._tasks:
            self.cancel()
            await asyncio.wait(tuple(self._tasks))

    async def aclose(self) -> None:
        """Cancel every task and wait until all have ended, whatever happens.

        Cancel safety: when this call is cancelled it still waits for the tasks, which are
        ending anyway, and raises only then; no task is left behind.
        """
        cancelled: asyncio.CancelledError | None = None
        tasks = tuple(self._tasks)
        self.cancel()
        while any(not task.done() for task in tasks):
            try:
                await asyncio.wait(tasks)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        self._cancelled.discard(task)


def cancelled_by_owner() -> bool:
    """Whether the current task was itself asked to stop.

    If not, the cancellation that it sees comes from something that it awaits, which is a failure
    of that thing and must not pass for the task's own end.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0

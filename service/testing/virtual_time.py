"""An event loop whose clock jumps to the next timer instead of waiting for it.

A test of an hour of retries takes a millisecond and sees exact times: ``loop.time()`` starts at
0.0 and is a whole number of nanoseconds, so ten sleeps of 0.1 s end at exactly 1.0.  When every
task waits and no timer is set, nothing can ever happen again, and the loop says so, naming the
tasks, instead of hanging.

What the loop hands to a thread (``asyncio.to_thread``) takes no virtual time: the clock stands
still until it is done, and until a process of ``asyncio.create_subprocess_exec`` has answered whom
it made wait for its output.  Sockets and threads of other origin wake the loop too, but it does not
know of them beforehand, so a timer that races them wins: test such races on a real loop.  This
module knows nothing of pytest.
"""

import asyncio
import math
import selectors
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakSet

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")
_Ready = list[tuple[selectors.SelectorKey, int]]

_NANOSECOND_S = 1e-9

PATIENT_TURNS = 10
"""Timers in a row that are due in less than a nanosecond, before that much time does pass."""

THREAD_PATIENCE_S = 5.0
"""Real seconds to wait for another thread to wake the loop, before time goes on without it."""


class StalledError(RuntimeError):
    """Every task waits and no timer is set (or the clock is paused before the next one).

    Args:
        now_s: Virtual time at which it happened.
        waiting: One line for each unfinished task: its name and where it waits.
    """

    def __init__(self, now_s: float, waiting: list[str]) -> None:
        lines = "".join(f"\n  {line}" for line in waiting)
        super().__init__(f"at {now_s:g} s every task waits and no timer can fire:{lines}")
        self.now_s = now_s
        self.waiting = waiting


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock by the asked timeout instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.horizon_s = math.inf
        self.calls_in_threads = 0
        self.processes: WeakSet[asyncio.subprocess.SubprocessStreamProtocol] = WeakSet()
        self.turns_without_time = 0

    def select(self, timeout: float | None = None) -> _Ready:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self.calls_in_threads or any(map(_is_awaited, self.processes)):
            ready = super().select(THREAD_PATIENCE_S)
            if ready:
                return ready
        if timeout is None or self.now_s >= self.horizon_s:
            return self._wait_for_threads()
        # Rounded, because t + (when - t) is not always `when`; the error stays below asyncio's
        # clock resolution of a nanosecond, so the timer that asked for it does fire.
        self._move(round(min(self.now_s + timeout, self.horizon_s), 9))
        return ready

    def _move(self, now_s: float) -> None:
        """Set the clock; not that again and again it is where it was."""
        if now_s > self.now_s:
            self.turns_without_time = 0
        else:
            # Whoever finds that it is too early by less than the rounding sets a timer again.
            self.turns_without_time += 1
            if self.turns_without_time > PATIENT_TURNS:
                step_s = max(_NANOSECOND_S, math.ulp(self.now_s))
                now_s = round(self.now_s + step_s, 9)
        self.now_s = now_s

    def _wait_for_threads(self) -> _Ready:
        # A look even where there is no other thread: one may have woken the loop and ended since.
        # A process ends without a thread where the system tells of its end (Python 3.12 and later).
        others = threading.active_count() > 1 or any(map(_is_running, self.processes))
        ready = super().select(THREAD_PATIENCE_S if others else 0)
        if ready:
            return ready
        raise StalledError(self.now_s, [_describe(task) for task in asyncio.all_tasks()])


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The loop of this module; use it as a loop factory.

    >>> async def nap() -> float:
    ...     await asyncio.sleep(3600)
    ...     return asyncio.get_running_loop().time()
    >>> with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
    ...     runner.run(nap())
    3600.0
    """

    def __init__(self) -> None:
        self._clock = _JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._clock.now_s

    @property
    def _clock_resolution(self) -> float:
        # asyncio's name for how far ahead a timer counts as due.  After half a year a nanosecond
        # is too small to be added to the time, and no timer would be.
        return max(_NANOSECOND_S, math.ulp(self._clock.now_s))

    @_clock_resolution.setter
    def _clock_resolution(self, resolution_s: float) -> None:
        """Asyncio sets it to that of the real clock, which nobody asks here."""

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> asyncio.Future[_T]:
        """Run ``func`` in a thread while the clock stands still."""
        call = super().run_in_executor(executor, func, *args)
        self._clock.calls_in_threads += 1
        call.add_done_callback(self._call_has_ended)
        return call

    async def shutdown_default_executor(
        self,
        timeout: float | None = None,  # noqa: ASYNC109 -- asyncio's, since Python 3.12
    ) -> None:
        """Wait for the threads; the clock stands still, on which any timeout is over at once."""
        del timeout
        self._clock.calls_in_threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._clock.calls_in_threads -= 1

    async def subprocess_exec(self, *args: Any, **kwargs: Any) -> Any:
        """Start a process, for whose output the clock stands still while somebody awaits it."""
        transport, protocol = await super().subprocess_exec(*args, **kwargs)
        if isinstance(protocol, asyncio.subprocess.SubprocessStreamProtocol):
            self._clock.processes.add(protocol)
        return transport, protocol

    def _call_has_ended(self, call: asyncio.Future[Any]) -> None:
        del call
        self._clock.calls_in_threads -= 1

    def pause(self) -> None:
        """Let no more time pass by itself, only through :meth:`advance`."""
        self._clock.horizon_s = self._clock.now_s

    def resume(self) -> None:
        """Let time jump again whenever every task waits."""
        self._clock.horizon_s = math.inf

    async def advance(self, seconds: float) -> None:
        """Let exactly ``seconds`` pass; timers that are due on the way fire in their order.

        Cancel safety: a cancelled call leaves a paused clock paused, somewhere on the way.

        Raises:
            ValueError: If ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time does not run backwards: {seconds}")
        clock = self._clock
        paused = self.paused
        clock.horizon_s = round(clock.now_s + seconds, 9) if paused else math.inf
        try:
            await asyncio.sleep(seconds)
        finally:
            if paused:
                self.pause()

    async def leap(self, until_s: float) -> None:
        """Let time pass until ``until_s``: what falls due on the way fires then, and once.

        For spans in which nothing happens but loops that look whether something has.

        Cancel safety: the time has passed even if the call is cancelled.
        """
        self._clock.now_s = max(self._clock.now_s, round(until_s, 9))
        for _ in range(3):
            await asyncio.sleep(0)  # lets the timers fire, and those that waited for them run

    @property
    def paused(self) -> bool:
        """Whether time passes only through :meth:`advance`."""
        return self._clock.horizon_s < math.inf


def virtual_loop() -> VirtualTimeLoop:
    """The running loop, for tests that pause and advance it.

    Raises:
        RuntimeError: If no loop runs, or the running one keeps real time.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualTimeLoop):
        raise RuntimeError("the running loop keeps real time")  # noqa: TRY004 -- not an argument
    return loop


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run ``main`` to its end on a loop of its own in virtual time, like ``asyncio.run``.

    Raises:
        StalledError: If every task waits and no timer is set.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)


def _is_awaited(process: asyncio.subprocess.SubprocessStreamProtocol) -> bool:
    """Whether a task waits for what ``process`` says next, or for its end."""
    outputs: tuple[Any, ...] = (process.stdout, process.stderr)
    # asyncio has no public word for either, and an idle process must not hold the clock
    if any(output is not None and output._waiter is not None for output in outputs):  # noqa: SLF001 -- see above
        return True
    transport: Any = getattr(process, "_transport", None)
    return transport is not None and bool(transport._exit_waiters)  # noqa: SLF001 -- see above


def _is_running(process: asyncio.subprocess.SubprocessStreamProtocol) -> bool:
    """Whether ``process`` has not ended."""
    return not process._process_exited  # type: ignore[attr-defined] # noqa: SLF001 -- no public word


def _describe(task: asyncio.Task[Any]) -> str:
    """Name the task and the innermost line of it that Python can see."""
    frames = task.get_stack(limit=1)
    if not frames:
        return f"{task.get_name()} (not started)"
    code = frames[-1].f_code
    return f"{task.get_name()} in {code.co_qualname}, line {frames[-1].f_lineno}"

"""The parent: starts workers, replaces those that die, drains them together."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from service.app.worker import GAVE_UP, WORKER_VARIABLE
from service.delivery.backoff import Backoff
from service.errors import ConfigurationError
from service.health.server import AdminServer
from service.settings import Settings
from service.settings.changes import changed_paths, needs_restart
from service.telemetry import set_level
from service.workers.answers import WorkerAnswers
from service.workers.orphans import reap_orphans

log = structlog.get_logger(__name__)

RESTART_FIRST_S: Final = 0.5
RESTART_MAX_S: Final = 10.0
STABLE_S: Final = 30.0
"""A worker that lived so long starts the back-off anew."""
FIRST_PROCESS: Final = 1
INSIST_BEFORE_S: Final = 2.0
"""Of the grace period, for what the parent has to do after its workers."""


class Workers:
    """A fixed number of worker processes.

    Args:
        settings: The configuration that they share.
        command: What starts one.
        load: Reads the configuration anew, when the workers do.
    """

    def __init__(
        self,
        settings: Settings,
        command: Sequence[str],
        load: Callable[[], Settings] | None = None,
    ) -> None:
        self._settings = settings
        self._command = list(command)
        self._load: Callable[[], Settings] = load or (lambda: settings)
        self._since_s: dict[int, float] = {}
        self._ports: dict[int, int] = {}
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._starting = asyncio.Lock()
        self._reload_due: set[int] = set()
        self._codes: list[int] = []
        self._port = 0
        # Nothing is ever written: its other end, in the workers, ends with this process.
        self._life, self._held = os.pipe()
        self._draining = asyncio.Event()

    async def run(self) -> int:
        """Keep all workers running until drained; returns the worst of their exit codes."""
        answers = WorkerAnswers(
            self._settings.workers,
            self._ports,
            silent=lambda: "draining" if self._draining.is_set() else "starting",
        )
        admin = AdminServer(
            self._settings.admin.host,
            self._settings.admin.port,
            answers.routes(metrics=self._settings.telemetry.prometheus),
        )
        admin.start()
        self._port = admin.port
        log.info("admin port open", host=self._settings.admin.host, port=admin.port)
        try:
            async with asyncio.TaskGroup() as tasks:
                for index in range(self._settings.workers):
                    tasks.create_task(self._keep(index), name=f"worker {index}")
        finally:
            admin.close()
            os.close(self._held)
            os.close(self._life)
        return max(self._codes, default=0)

    def drain(self) -> None:
        """Drain all workers; the first call asks, the second insists."""
        again = self._draining.is_set()
        self._draining.set()
        for process in self._running.values():
            if process.returncode is None:
                process.send_signal(signal.SIGKILL if again else signal.SIGTERM)

    def reload(self) -> None:
        """Let all workers read the configuration again; one that is starting, when it is up."""
        self._take_over()
        for index, process in self._running.items():
            if index not in self._ports:
                self._reload_due.add(index)  # it would end by a signal that it does not know yet
            elif process.returncode is None:
                process.send_signal(signal.SIGHUP)

    def _take_over(self) -> None:
        """Follow what the workers are about to take over: their drain budget is ours too.

        What they refuse, and why, is theirs to say.
        """
        try:
            settings = self._load()
        except (ConfigurationError, OSError):
            return
        if not needs_restart(changed_paths(self._settings, settings)):
            self._settings = settings
            set_level(settings.logging.level)

    async def _keep(self, index: int) -> None:
        """Run worker ``index`` until drained, starting it again when it dies."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(initial_s=RESTART_FIRST_S, max_s=RESTART_MAX_S)
        for life in itertools.count():
            began_s = loop.time()
            code = await self._run_once(index)
            if self._draining.is_set():
                self._codes.append(drained_code(code))
                return
            if code == os.EX_CONFIG and not self._others_are_stable(index, loop.time()):
                self._codes.append(code)
                self.drain()
                return
            if code == GAVE_UP and life == 0:
                # The deadline of the start has passed, for all of them: the platform decides.
                self._codes.append(os.EX_TEMPFAIL)
                self.drain()
                return
            if loop.time() - began_s > STABLE_S:
                backoff.reset()
            wait_s = backoff.next_s()
            log.error("worker died", worker=index, code=code, restart_in_s=round(wait_s, 2))
            try:
                async with asyncio.timeout(wait_s):
                    await self._draining.wait()
            except TimeoutError:
                continue
            self._codes.append(os.EX_TEMPFAIL)
            return

    def _others_are_stable(self, index: int, now_s: float) -> bool:
        """Whether another worker has been running for long.

        Then the configuration was right, and a file that somebody is still working at must not
        end what runs.
        """
        return any(
            now_s - since_s > STABLE_S for each, since_s in self._since_s.items() if each != index
        )

    async def _run_once(self, index: int) -> int:
        self._reload_due.discard(index)  # a new one reads the configuration anyway
        reading, writing = os.pipe()
        os.set_inheritable(writing, True)  # noqa: FBT003 -- the standard library's signature
        told = f"{index}:{writing}:{self._life}:{self._port}"
        try:
            async with self._starting:  # one that is not known yet would be taken for an orphan
                if os.getpid() == FIRST_PROCESS:
                    reap_orphans(self._alive())
                process = self._running[index] = await asyncio.create_subprocess_exec(
                    *self._command,
                    env={**os.environ, WORKER_VARIABLE: told},
                    pass_fds=(writing, self._life),
                )
        except OSError as error:  # no memory or no process to be had: maybe later
            os.close(reading)
            log.error("worker not started", worker=index, error=str(error))  # noqa: TRY400 -- the system's, not ours
            return os.EX_SOFTWARE
        finally:
            os.close(writing)
        self._since_s[index] = asyncio.get_running_loop().time()
        log.info("worker started", worker=index, pid=process.pid)
        if self._draining.is_set():  # asked for while it was being started
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.TaskGroup() as tasks:
                hearing = tasks.create_task(self._hear(index, process, reading))
                code = await self._ended(process)  # it may never have been heard of
                hearing.cancel()
            return code
        finally:
            self._ports.pop(index, None)
            self._since_s.pop(index, None)

    async def _hear(self, index: int, process: asyncio.subprocess.Process, reading: int) -> None:
        """Take down where a worker answers, once it says so."""
        port = await _read_port(reading)
        if port:
            self._ports[index] = port
            if index in self._reload_due and process.returncode is None:
                process.send_signal(signal.SIGHUP)

    def _alive(self) -> set[int]:
        return {each.pid for each in self._running.values() if each.returncode is None}

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a worker; one that would outstay the grace period is killed, and told of."""
        async with asyncio.TaskGroup() as tasks:
            ending = tasks.create_task(process.wait())
            draining = tasks.create_task(self._draining.wait())
            await asyncio.wait((ending, draining), return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                budget_s = self._settings.grace_period_s - INSIST_BEFORE_S
                await asyncio.wait((ending,), timeout=budget_s)
                if not ending.done():
                    log.error("worker killed", pid=process.pid, waited_s=budget_s)
                    process.kill()
            code = await ending
            draining.cancel()
        return code


async def _read_port(descriptor: int) -> int:
    """The admin port that a worker reports; 0 when it ends without one."""
    reader = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb")
    )
    try:
        line = (await reader.readline()).strip()
    finally:
        transport.close()
    return int(line) if line.isdigit() else 0


async def run_workers(
    settings: Settings, arguments: Sequence[str], load: Callable[[], Settings]
) -> int:
    """Run ``settings.workers`` processes until SIGTERM or SIGINT; a second one kills them.

    Args:
        settings: The configuration.
        arguments: The command line of a worker, without the program.
        load: Reads the configuration anew, after SIGHUP.
    """
    _wait_without_threads()
    workers = Workers(settings, [sys.executable, "-m", "service", *arguments], load)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, workers.drain)
    loop.add_signal_handler(signal.SIGHUP, workers.reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    return await workers.run()


def _wait_without_threads() -> None:
    """Have asyncio's own loop wait for a process without a thread for each, as others do.

    Where none can be had, it would fail with the process running that nobody waits for.
    """
    if sys.version_info < (3, 12):  # later ones do so by themselves
        with contextlib.suppress(OSError, AttributeError):  # an old kernel, or not Linux
            os.close(os.pidfd_open(os.getpid()))
            watcher = asyncio.PidfdChildWatcher()
            watcher.attach_loop(asyncio.get_running_loop())
            asyncio.set_child_watcher(watcher)  # pyright: ignore[reportDeprecated]


def drained_code(code: int) -> int:
    """What the end of a worker that was asked to drain says as an exit code.

    One that the signal itself ended was still starting: it had taken nothing.
    """
    if code in {-signal.SIGTERM, -signal.SIGINT}:
        return os.EX_OK
    return code if code >= 0 and code != GAVE_UP else os.EX_TEMPFAIL

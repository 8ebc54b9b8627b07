"""Sync handlers in processes: for those that burn CPU and would hold up the event loop.

Each worker is a fresh interpreter that runs one call at a time, so a call that kills its process
or has to be killed (a timeout) costs no other call anything; a new one is started for the next.
The call is awaitable, so the dispatcher's lanes keep the order of keys as they do for any async
handler.  The other side is `service.handlers.worker`.
"""

import asyncio
import pickle
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from typing import Any, Final

from service.errors import TransientError
from service.events import Event
from service.handlers.worker import FRAME_HEADER_BYTES, Portable, Setup, frame

START_TIMEOUT_S: Final = 30.0
"""Longest wait for a worker to import its handler."""

_WORKER: Final = "import sys; from service.handlers.worker import main; sys.exit(main())"
# not -m: a module run as __main__ pickles its classes under that name


class ProcessCalls:
    """Calls a handler in processes of its own, started when first needed.

    Args:
        use: Where the worker imports the handler from.
        options: As configured; the worker checks them again.
        processes: Most processes, and so most calls at a time.
        name: The handler's name in the configuration.
    """

    def __init__(self, use: str, options: Mapping[str, Any], *, processes: int, name: str) -> None:
        self._setup = Setup(sys.path, use, dict(options), name)
        self._free = asyncio.Semaphore(processes)
        self._idle: list[Process] = []
        self._ending: list[Process] = []

    async def call(self, event: Event) -> Any:
        """What the handler returns for ``event``.

        Cancel safety: the process of a cancelled call is killed, as nothing else stops it.

        Raises:
            TransientError: If the handler raised one, or its process died.
            PermanentError: If the handler raised one.
            FatalError: If the handler raised one.
            HandlerFailedError: If it raised anything else, or cannot be made there.
        """
        request = frame(Portable.of(event))
        async with self._free:
            process = self._idle.pop() if self._idle else await self._start()
            reply = await self._ask(process, request)
            self._idle.append(process)
        return reply.unwrap()

    async def close(self) -> None:
        """End every process; a second call does nothing."""
        for process in self._idle:
            self._end(process)
        self._idle.clear()
        for process in self._ending:
            await process.wait()
        self._ending.clear()

    async def _start(self) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-X",
            "faulthandler",
            "-c",
            _WORKER,
            stdin=PIPE,
            stdout=PIPE,
            start_new_session=True,  # or Ctrl-C would end it before it has drained
        )
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                ready = await self._ask(process, frame(self._setup))
        except TimeoutError as error:
            raise TransientError("the handler's process does not start") from error
        try:
            ready.unwrap()
        except BaseException:
            self._end(process)
            raise
        return process

    async def _ask(self, process: Process, request: bytes) -> Any:
        """One exchange; on any failure the process is ended."""
        requests, replies = process.stdin, process.stdout
        assert requests is not None  # noqa: S101 -- for the type checker: PIPE was asked for
        assert replies is not None  # noqa: S101 -- as above
        try:
            requests.write(request)
            await requests.drain()
            header = await replies.readexactly(FRAME_HEADER_BYTES)
            body = await replies.readexactly(int.from_bytes(header, "big"))
            return pickle.loads(body)  # noqa: S301 -- from our own child, through a pipe
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self._end(process)
            raise TransientError("the handler's process died") from error
        except BaseException:
            self._end(process)
            raise

    def _end(self, process: Process) -> None:
        self._ending = [ending for ending in self._ending if ending.returncode is None]
        self._ending.append(process)
        if process.returncode is None:
            process.kill()

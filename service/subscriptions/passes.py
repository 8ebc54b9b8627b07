"""When clients are written to: in passes over every group.

A pass writes to every client that has something to get and whose socket has taken everything so
far; clients at the same place of the same view get the very same bytes.  Nobody is waited for: a
client whose socket is full is passed over, and its view drops, conflates or disconnects.
"""

import asyncio
import contextlib
from collections.abc import Collection

import structlog

from service.subscriptions.group import Group
from service.subscriptions.share import LoopShare

_log = structlog.get_logger(__name__)

PASS_INTERVAL_S = 0.1
"""Shortest time between the starts of two passes while everybody keeps up: what coalesces."""

CHECKPOINT_S = 15.0
"""How often clients with a filter are told their position though nothing passed it."""


class Passes:
    """Serves groups while :meth:`run` runs.

    Args:
        groups: A live view of all of them.
        share: What writing may take of the loop.
    """

    def __init__(self, groups: Collection[Group], share: LoopShare) -> None:
        self._groups = groups
        self._share = share
        self._due = asyncio.Event()
        self._urgent = asyncio.Event()
        self._ended = asyncio.Event()

    def wake(self) -> None:
        """Somebody has something to get."""
        self._due.set()

    def on_events(self, urgent: bool) -> asyncio.Event:  # noqa: FBT001 -- a fact, not an option
        """Views have new events; returns what is set when the next pass has ended.

        Args:
            urgent: Whether a view is half full, so that the next pass should not wait.
        """
        self._due.set()
        if urgent:
            self._urgent.set()
        return self._ended

    async def run(self) -> None:
        """Make passes until cancelled."""
        loop = asyncio.get_running_loop()
        checkpoint_at_s = loop.time() + CHECKPOINT_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(checkpoint_at_s):
                    await self._due.wait()
            self._due.clear()
            self._urgent.clear()
            began_s = loop.time()
            behind = await self._pass()
            self._ended.set()
            self._ended = asyncio.Event()
            if began_s >= checkpoint_at_s:
                checkpoint_at_s = began_s + CHECKPOINT_S
                for group in self._groups:
                    group.checkpoint()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(began_s + PASS_INTERVAL_S):
                    await self._urgent.wait()
            if behind:
                self._due.set()

    async def _pass(self) -> bool:
        """Serve every group once; whether somebody still has to get more."""
        behind = False
        for group in list(self._groups):
            try:
                behind |= await group.serve(self._share)
            except Exception:  # noqa: BLE001 -- the boundary of a task
                # one group's trouble is not the others', nor the pipelines'
                _log.exception("subscription pass failed", topic=group.feed.topic)
                behind = True
        return behind

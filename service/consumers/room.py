"""Waiting for room: in a channel, or for what has been fetched.

A source that has nobody to tell of an event that was refused or dropped has to wait: a queue would
never get it acknowledged, an answer would lack a piece, whatever a full channel does with others'
events.
"""

import asyncio
from collections.abc import Collection
from typing import Final

from service.channels import Sender
from service.consumers.base import TopicPartition
from service.events import RecordBatch

POLL_S: Final = 0.01
"""How often a channel that makes nobody wait is looked at for room."""


async def send_when_there_is_room(inbox: Sender[RecordBatch], batch: RecordBatch) -> None:
    """Send ``batch``, waiting while the channel is full, whatever its overflow policy is.

    Cancel safety: a cancelled call has not sent ``batch``.

    Raises:
        ChannelClosedError: If the receiver is closed before there is room.
    """
    while not inbox.is_closed:
        if inbox.statistics().waiting_senders:
            return await inbox.send(batch)  # the policy is to wait: not past those in line
        if _has_room(inbox, batch):
            break
        await asyncio.sleep(POLL_S)
    inbox.try_send(batch)  # not send(): it may let others run, who may take the room
    return None


class RoomWanted:
    """Tells an intake that has something in hand, and no room for it, when to look again.

    No answer would: the client asks for nothing more of a partition that it still has something
    of.  Only the partition's own batches tell; room that others leave, or that time brings, is
    found at the next look.
    """

    __slots__ = ("_full", "_made")

    def __init__(self) -> None:
        self._full: Collection[TopicPartition] = ()
        self._made: asyncio.Future[None] | None = None

    def wanted(self, full: Collection[TopicPartition]) -> asyncio.Future[None] | None:
        """What is done when a batch of one of ``full`` is; ``None`` if there is none in it."""
        self._full = full
        self._made = asyncio.get_running_loop().create_future() if full else None
        return self._made

    def made(self, partition: TopicPartition) -> None:
        """A batch of ``partition`` is done, and its memory given back."""
        if partition in self._full:
            self._full = ()
            if self._made is not None and not self._made.done():
                self._made.set_result(None)


async def first_of(
    futures: Collection[asyncio.Future[None]], until: asyncio.Future[None] | None, timeout_s: float
) -> None:
    """Wait until any of ``futures``, or ``until``, is done; they are left as they are.

    Cancel safe.
    """
    waited_for = [*futures] if until is None else [*futures, until]
    if waited_for:
        await asyncio.wait(waited_for, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    else:
        await asyncio.sleep(timeout_s)


def _has_room(inbox: Sender[RecordBatch], batch: RecordBatch) -> bool:
    statistics = inbox.statistics()
    slots, max_bytes = inbox.max_capacity, statistics.max_bytes
    if slots is not None and inbox.capacity < min(max(len(batch), 1), slots):
        return False
    return max_bytes is None or (
        statistics.buffered_bytes + min(batch.size_bytes, max_bytes) <= max_bytes
    )

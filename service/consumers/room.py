"""Sending for a source that has nobody to tell of an event that was refused or dropped.

A queue would never get it acknowledged, an answer would lack a piece: whatever a full channel does
with others' events, these wait.
"""

import asyncio
from typing import Final

from service.channels import Sender
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


def _has_room(inbox: Sender[RecordBatch], batch: RecordBatch) -> bool:
    statistics = inbox.statistics()
    slots, max_bytes = inbox.max_capacity, statistics.max_bytes
    if slots is not None and inbox.capacity < min(max(len(batch), 1), slots):
        return False
    return max_bytes is None or (
        statistics.buffered_bytes + min(batch.size_bytes, max_bytes) <= max_bytes
    )

"""Channels: bounded queues with backpressure, permits, batches and a clean end.

Usable alone: of the rest of the service they know only the errors.  The semantics are those of
tokio's ``mpsc``, ``oneshot``, ``broadcast`` and ``watch``, with Python's names and exceptions.
``channel`` makes the first kind; the others are modules of their own: ``oneshot.channel``,
``broadcast.channel``, ``watch.channel``.
"""

from service.channels import broadcast, oneshot, watch
from service.channels.mpsc import channel, unbounded_channel
from service.channels.overflow import Conflate, Overflow
from service.channels.permits import OwnedPermit, Permit, Permits
from service.channels.receiver import Receiver
from service.channels.sender import Sender, WeakSender
from service.channels.statistics import ChannelStatistics
from service.channels.unbounded import UnboundedSender, WeakUnboundedSender

__all__ = [
    "ChannelStatistics",
    "Conflate",
    "Overflow",
    "OwnedPermit",
    "Permit",
    "Permits",
    "Receiver",
    "Sender",
    "UnboundedSender",
    "WeakSender",
    "WeakUnboundedSender",
    "broadcast",
    "channel",
    "oneshot",
    "unbounded_channel",
    "watch",
]

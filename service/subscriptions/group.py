"""The live subscriptions of one view, and one pass over them."""

import asyncio
from typing import NamedTuple

from service.metrics import HubCounters
from service.peer import CloseCode
from service.subscriptions.feed import TopicFeed
from service.subscriptions.portions import FRAME_BYTES
from service.subscriptions.positions import before
from service.subscriptions.protocol import Overflow, events_body, events_frame, gap_frame
from service.subscriptions.share import LoopShare
from service.subscriptions.subscription import Subscription
from service.subscriptions.views import LatestView, RingView

_SLICE_S = 0.002
"""Longest run of writing before the loop is let go."""

_SLICE_STEP = 8
"""Clients between two looks at the clock."""

_FRESH_S = 0.01
"""How long the clients of a pass get what the first of them got, though there is more by now.
After that it is taken anew: whoever comes late in a long pass would have to wait for the next."""


class _Portion(NamedTuple):
    """What every client at one cursor gets."""

    body: bytes
    events: int
    cursor: int
    dropped: int
    frames: dict[bytes, bytes]


class Group:
    """Subscriptions that share ``view``.

    Args:
        feed: The topic that the view belongs to.
        view: Its events.
        counters: What is counted.
        filtered: Whether events of the topic may pass the clients by.
    """

    def __init__(
        self,
        feed: TopicFeed,
        view: RingView | LatestView,
        counters: HubCounters,
        *,
        filtered: bool,
    ) -> None:
        self.feed = feed
        self.view = view
        self.subscriptions: dict[Subscription, None] = {}
        self._counters = counters
        self._filtered = filtered

    def checkpoint(self) -> None:
        """Tell clients that have everything how far the topic has been read.

        A filter that seldom passes anything would leave them with an old position, which costs
        a long search to resume from, or is no longer stored.
        """
        if not self._filtered:
            return
        body = events_body([], self.feed.window.positions)
        for subscription in self.subscriptions:
            has_all = subscription.cursor == self.view.end and not subscription.gap_due
            if has_all and not subscription.ended and subscription.peer.writable:
                subscription.peer.write(events_frame(subscription.id_json, body))

    def join(self, subscription: Subscription) -> None:
        """Serve ``subscription``, which has everything up to now."""
        subscription.cursor = self.view.end
        self.subscriptions[subscription] = None

    def leave(self, subscription: Subscription) -> None:
        """Serve ``subscription`` no more."""
        subscription.ended = True
        self.subscriptions.pop(subscription, None)

    async def serve(self, share: LoopShare) -> bool:
        """Write to everyone who can take something; whether somebody still has to get more."""
        due = [s for s in self.subscriptions if s.cursor < self.view.end or s.gap_due]
        if not due:
            return False
        loop = asyncio.get_running_loop()
        portions: dict[int, _Portion] = {}
        cpu_clock = share.cpu_clock
        work_s, began_s, began_cpu_s = 0.0, loop.time(), cpu_clock()
        end, taken_at_s = self.view.end, began_s
        for number, subscription in enumerate(due, 1):
            if not subscription.ended:
                self._serve_one(subscription, portions)
            if number % _SLICE_STEP == 0 and loop.time() - began_s > _SLICE_S:
                work_s += cpu_clock() - began_cpu_s
                await asyncio.sleep(0)  # everybody else has a turn
                began_s, began_cpu_s = loop.time(), cpu_clock()
                if self.view.end != end and began_s - taken_at_s > _FRESH_S:
                    portions.clear()
                    end, taken_at_s = self.view.end, began_s
        slowest = min((s.cursor for s in self.subscriptions), default=self.view.end)
        self.view.trim(slowest)
        # paid for at the end, not slice by slice: the last client should not wait for the share
        await share.used(work_s + cpu_clock() - began_cpu_s)
        return slowest < self.view.end or any(s.gap_due for s in self.subscriptions)

    def _serve_one(self, subscription: Subscription, portions: dict[int, _Portion]) -> None:
        cursor, view = subscription.cursor, self.view
        if not subscription.peer.writable:
            if subscription.overflow is Overflow.DISCONNECT and cursor < view.head:
                self._disconnect(subscription)
            return
        portion = portions.get(cursor)
        if portion is None:
            portion = portions[cursor] = self._portion(cursor)
        if portion.dropped and subscription.overflow is Overflow.DISCONNECT:
            self._disconnect(subscription)
            return
        subscription.peer.write(self._frames(subscription, portion))
        subscription.cursor = portion.cursor
        self._counters.sent += portion.events

    def _portion(self, cursor: int) -> _Portion:
        taken = self.view.take(cursor, FRAME_BYTES)
        following = before(self.view.after(taken.cursor), self.feed.window.positions)
        body = events_body(taken.events, following)
        return _Portion(body, len(taken.events), taken.cursor, taken.dropped, {})

    def _frames(self, subscription: Subscription, portion: _Portion) -> bytes:
        id_json = subscription.id_json
        frame = portion.frames.get(id_json)
        if frame is None:
            frame = portion.frames[id_json] = (
                events_frame(id_json, portion.body) if portion.events else b""
            )
        dropped = portion.dropped + subscription.missed
        if not (dropped or subscription.gap_due):
            return frame
        subscription.missed = 0
        subscription.gap_due = False
        self._counters.dropped += dropped
        following = before(self.view.after(subscription.cursor), self.feed.window.positions)
        return gap_frame(id_json, dropped, following) + frame

    def _disconnect(self, subscription: Subscription) -> None:
        self._counters.disconnected_slow += 1
        subscription.ended = True
        subscription.cursor = self.view.end
        subscription.peer.close_soon(CloseCode.TOO_SLOW, "too slow; resume with the last next")

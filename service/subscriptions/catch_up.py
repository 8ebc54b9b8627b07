"""From wherever a subscription starts to the present, without a gap or a duplicate.

Recent events come from the feed's window.  Older ones are read by a reader of their own until
the window covers the rest; offsets, not times, say where one ends and the other begins.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice

from service.consumers.base import OffsetGoneError
from service.consumers.topic_reader import ReaderFactory, Run, UnknownTopicError
from service.errors import BrokerUnavailableError, ServiceError
from service.metrics import HubCounters
from service.subscriptions.encoding import EncodedEvent, encode
from service.subscriptions.feed import TopicFeed
from service.subscriptions.group import FRAME_BYTES
from service.subscriptions.positions import FromLatest, Positions, Resolved, before, clamp, covers
from service.subscriptions.protocol import (
    Overflow,
    events_body,
    events_frame,
    gap_frame,
    subscribed_frame,
)
from service.subscriptions.share import LoopShare
from service.subscriptions.subscription import Subscription
from service.subscriptions.window import RecentWindow

OPEN_TIMEOUT_S = 10.0
"""How long a client waits for the topic's reader before it is told to come back."""

SCAN_EVENTS = 1000
"""Most events of the window that are looked at before the loop is let go."""

HISTORY_READERS = 8
"""Most subscriptions that read history at once; others wait for their turn."""


class SubscriptionLostError(ServiceError):
    """The subscription cannot go on; the client may try again.

    Args:
        code: For the client's program.
        message: For people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class CatchUp:
    """Brings subscriptions up to the present.

    Args:
        readers: Opens history readers.
        share: What reading history may take of the loop.
        counters: What is counted.
    """

    def __init__(self, readers: ReaderFactory, share: LoopShare, counters: HubCounters) -> None:
        self._readers = readers
        self._share = share
        self._counters = counters
        self._turns = asyncio.Semaphore(HISTORY_READERS)

    async def run(self, subscription: Subscription, feed: TopicFeed) -> None:
        """Send everything from the start on; returns with nothing left before the present.

        The caller has to take over before it awaits anything.

        Raises:
            PeerGoneError: If the client goes away.
            SubscriptionLostError: If the topic cannot be read.
        """
        try:
            resolved = await self._resolve(subscription, feed)
            frames = self._opening(subscription, resolved)
            if isinstance(subscription.start, FromLatest):
                # At once: the passes have all that comes from here on, and whoever waited for
                # his socket first would have to look for it among the recent events.
                subscription.peer.write(frames)
                return
            await subscription.peer.deliver(frames)
            positions = resolved.positions
            while not await self._from_window(subscription, feed, positions):
                async with self._turns:
                    await self._from_log(subscription, feed, positions)
        except UnknownTopicError as error:
            raise SubscriptionLostError("unknown_topic", str(error)) from error
        except BrokerUnavailableError as error:
            raise SubscriptionLostError("unavailable", f"{feed.topic}: try again") from error

    async def _resolve(self, subscription: Subscription, feed: TopicFeed) -> Resolved:
        """Where it starts; returns with the feed having read up to there."""
        try:
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                await feed.caught_up()
                resolved = await feed.resolve(subscription.start)
                await feed.reached(resolved.positions)
        except TimeoutError:
            raise SubscriptionLostError("unavailable", "Kafka does not answer") from None
        return resolved

    def _opening(self, subscription: Subscription, resolved: Resolved) -> bytes:
        """What the client is told first."""
        frames = subscribed_frame(subscription.id_json, resolved.positions)
        if resolved.lost:
            self._counters.dropped += resolved.lost
            frames += gap_frame(subscription.id_json, resolved.lost, resolved.positions)
        return frames

    async def _from_window(
        self, subscription: Subscription, feed: TopicFeed, positions: Positions
    ) -> bool:
        """Send what the window has from ``positions`` on; False if it does not reach back."""
        cpu_clock = self._share.cpu_clock
        window = feed.window
        number: int | None = None
        while True:
            if feed.window is not window or not covers(window.low, positions):
                return False  # the window moved on while the client was slow
            began_s = cpu_clock()
            # looked for once, when it is known to be there
            number = window.number_of(positions) if number is None else max(number, window.head)
            events, number = _scan(subscription, window, number, positions)
            for partition, offset in before(window.after(number), window.positions).items():
                # the log may have been read further than the part of the window looked at
                positions[partition] = max(positions.get(partition, 0), offset)
            if not events and number == window.end:
                return True
            await self._share.used(cpu_clock() - began_s)
            if events:
                await self._send(subscription, events, positions)

    async def _from_log(
        self, subscription: Subscription, feed: TopicFeed, positions: Positions
    ) -> None:
        """Send what is stored from ``positions`` on, until the window covers the rest."""
        cpu_clock = self._share.cpu_clock
        reader = await self._readers.open(feed.topic)
        try:
            reader.seek(positions)
            while not covers(feed.window.low, positions):
                try:
                    runs = await reader.read()
                except OffsetGoneError:
                    found = clamp(positions, await reader.beginning(), await reader.end())
                    positions.update(found.positions)
                    reader.seek(positions)
                    self._counters.dropped += found.lost
                    await subscription.peer.deliver(
                        gap_frame(subscription.id_json, found.lost, positions)
                    )
                    continue
                began_s = cpu_clock()
                for chunk in _chunks(subscription, runs, positions):
                    await self._share.used(cpu_clock() - began_s)
                    await self._send(subscription, chunk, positions)
                    began_s = cpu_clock()
                await self._share.used(cpu_clock() - began_s)
        finally:
            await reader.close()

    async def _send(
        self, subscription: Subscription, events: list[EncodedEvent], following: Positions
    ) -> None:
        if subscription.overflow is Overflow.CONFLATE:
            events = latest(events)
        body = events_body(events, following)
        await subscription.peer.deliver(events_frame(subscription.id_json, body))
        self._counters.sent += len(events)


def latest(events: list[EncodedEvent]) -> list[EncodedEvent]:
    """The last event of each key, in order; all events without a key."""
    last = {event.key: index for index, event in enumerate(events)}
    return [e for i, e in enumerate(events) if e.key is None or last[e.key] == i]


def _passes(subscription: Subscription, event: EncodedEvent) -> bool:
    return subscription.where is None or subscription.where(event.data())


def _scan(
    subscription: Subscription, window: RecentWindow, number: int, positions: Positions
) -> tuple[list[EncodedEvent], int]:
    """About a frame's worth of matching events, and the number of the next one to look at."""
    events: list[EncodedEvent] = []
    size_bytes = 0
    for event in islice(window.after(number), SCAN_EVENTS):
        number += 1
        if event.offset >= positions.get(event.partition, 0) and _passes(subscription, event):
            events.append(event)
            size_bytes += event.size_bytes
            if size_bytes > FRAME_BYTES:
                break
    return events, number


def _chunks(
    subscription: Subscription, runs: list[Run], positions: Positions
) -> Iterator[list[EncodedEvent]]:
    """Encode and filter ``runs``, a frame's worth at a time; moves ``positions`` along."""
    chunk: list[EncodedEvent] = []
    size_bytes = 0
    for run in runs:
        for record in run.records:
            if record.offset < positions.get(run.partition, 0):
                continue
            event, data = encode(run.partition, record)
            positions[run.partition] = record.offset + 1
            if subscription.where is None or subscription.where(data):
                chunk.append(event)
                size_bytes += event.size_bytes
                if size_bytes > FRAME_BYTES:
                    yield chunk
                    chunk, size_bytes = [], 0
        positions[run.partition] = max(positions.get(run.partition, 0), run.next_offset)
    if chunk:
        yield chunk

"""From wherever a subscription starts to the present, without a gap or a duplicate.

Recent events come from the feed's window.  Older ones are read from the log until the window
covers the rest; offsets, not times, say where one ends and the other begins.  What is read,
encoded and tested serves all who catch up at the same time, each at its own pace.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import islice
from weakref import WeakValueDictionary

from service.consumers.topic_reader import ReaderFactory, UnknownTopicError
from service.errors import BrokerUnavailableError, ServiceError
from service.metrics import HubCounters
from service.peer import Peer
from service.subscriptions.blocks import Block
from service.subscriptions.encoding import EncodedEvent
from service.subscriptions.feed import TopicFeed
from service.subscriptions.history import History
from service.subscriptions.portions import FRAME_BYTES, Place, Portion, Portions
from service.subscriptions.positions import FromLatest, Positions, Resolved, before, covers
from service.subscriptions.protocol import gap_frame, subscribed_frame
from service.subscriptions.scan import SharedScan
from service.subscriptions.share import LoopShare
from service.subscriptions.subscription import Subscription
from service.subscriptions.window import RecentWindow
from service.where import Predicate

UNKNOWN_TOPIC = "unknown_topic"
"""Code of the error for a topic that does not exist."""

OPEN_TIMEOUT_S = 10.0
"""How long a client waits for the topic's reader before it is told to come back."""

SCAN_EVENTS = 1000
"""Most events of the window that are looked at before the loop is let go."""

STEPS_AT_ONCE = 8
"""Most subscriptions that are worked for in one turn of the loop, about a quarter of a millisecond
each."""

HISTORY_READERS = 8
"""Most readers that read history at once, over all topics."""

HISTORY_BYTES = 16 * 1024 * 1024
"""Most bytes of history that are kept per topic while somebody catches up."""


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
        share: What catching up may take of the loop.
        counters: What is counted.
    """

    def __init__(self, readers: ReaderFactory, share: LoopShare, counters: HubCounters) -> None:
        self._readers = readers
        self._share = share
        self._counters = counters
        self._reading = asyncio.Semaphore(HISTORY_READERS)
        self._portions = Portions()
        # First come, first served: a thousand who are ready in the same moment would hold the loop
        # up with what they all do then.
        self._turns = asyncio.Semaphore(STEPS_AT_ONCE)
        self._running = 0
        # each lives as long as somebody catches up with it
        self._histories: WeakValueDictionary[str, History] = WeakValueDictionary()
        self._scans: WeakValueDictionary[tuple[str, bytes], SharedScan] = WeakValueDictionary()

    async def run(self, subscription: Subscription, feed: TopicFeed) -> None:
        """Send everything from the start on; returns with nothing left before the present.

        The caller has to take over before it awaits anything.

        Raises:
            PeerGoneError: If the client goes away.
            SubscriptionLostError: If the topic cannot be read.
        """
        self._running += 1
        try:
            resolved = await self._resolve(subscription, feed)
            frames = self._opening(subscription, resolved)
            if isinstance(subscription.start, FromLatest):
                # At once: the passes have all that comes from here on, and whoever waited for
                # its socket first would have to look for it among the recent events.
                subscription.peer.write(frames)
                return
            await subscription.peer.ready()
            subscription.peer.write(frames)
            positions: Positions | None = resolved.positions
            while positions is not None:
                positions = await self._from_log(subscription, feed, positions)
                positions = await self._from_window(subscription, feed, positions)
            feed.check_known()  # or it would join those who have just been told
        except UnknownTopicError as error:
            raise SubscriptionLostError(UNKNOWN_TOPIC, str(error)) from error
        except BrokerUnavailableError as error:
            raise SubscriptionLostError("unavailable", f"{feed.topic}: try again") from error
        finally:
            self._running -= 1
            if not self._running:
                self._portions.clear()

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
        if resolved.lost or resolved.beyond:
            self._counters.dropped += resolved.lost
            frames += gap_frame(subscription.id_json, resolved.lost, resolved.positions)
        return frames

    async def _from_window(
        self, subscription: Subscription, feed: TopicFeed, positions: Positions
    ) -> Positions | None:
        """Send what the window has from ``positions`` on.

        Returns:
            Where to go on if the window moved on meanwhile; ``None`` in the present, with nothing
            awaited since the last look.
        """
        cpu_clock = self._share.cpu_clock
        window = feed.window
        number: int | None = None
        scan: SharedScan | None = None
        while True:
            async with self._turn_of(subscription.peer):
                if feed.window is not window or not covers(window.low, positions):
                    return positions
                began_s = cpu_clock()
                place = _place(subscription, window, positions)
                portion = self._portions.get(place)
                if portion is None or not (portion.full or portion.number == window.end):
                    if number is None:  # looked for once, when it is known to be there
                        number = window.number_of(positions)
                    if scan is None and subscription.where is not None:
                        scan = self._scan_of(subscription, subscription.where, window, number)
                    portion = _of_window(subscription, window, scan, number, positions)
                    self._portions.keep(place, portion)
                positions, number = portion.following, portion.number
                self._send(subscription, portion)
                if number == window.end:
                    return None
                await self._share.used(cpu_clock() - began_s)

    def _scan_of(
        self, subscription: Subscription, where: Predicate, window: RecentWindow, number: int
    ) -> SharedScan:
        """What those with the same filter know of the window from ``number`` on."""
        key = subscription.topic, subscription.view_key.where_json
        scan = self._scans.get(key)
        if scan is None or not scan.serves(window, number):
            scan = self._scans[key] = SharedScan(window, where, number)
        return scan

    async def _from_log(
        self, subscription: Subscription, feed: TopicFeed, positions: Positions
    ) -> Positions:
        """Send what is stored from ``positions`` on, until the window covers the rest."""
        if covers(feed.window.low, positions):
            return positions
        cpu_clock = self._share.cpu_clock
        history = self._history(feed.topic)
        where = subscription.where
        filters = {} if where is None else {subscription.view_key.where_json: where}
        async with history.used(filters):
            while behind := _behind(positions, feed.window.low):
                place = _place(subscription, history, positions)
                portion = self._portions.get(place)
                blocks = {} if portion else await history.read(behind, feed.window.low)
                async with self._turn_of(subscription.peer):
                    began_s = cpu_clock()
                    portion = portion or self._portions.get(place)  # others may have made it
                    if portion is None:
                        portion = _of_blocks(subscription, blocks, positions)
                        self._portions.keep(place, portion)
                    positions = portion.following
                    self._send(subscription, portion)
                    await self._share.used(cpu_clock() - began_s)
        return positions

    def _history(self, topic: str) -> History:
        history = self._histories.get(topic)
        if history is None:
            history = self._histories[topic] = History(
                topic,
                self._readers,
                share=self._share,
                turns=self._reading,
                max_bytes=HISTORY_BYTES,
            )
        return history

    @asynccontextmanager
    async def _turn_of(self, peer: Peer) -> AsyncGenerator[None]:
        """A turn in which ``peer`` may be written to.

        Raises:
            PeerGoneError: If it goes away first.
        """
        while True:
            await peer.ready()
            async with self._turns:
                if peer.writable:
                    yield
                    return
                await asyncio.sleep(0)  # another subscription of the same client was quicker

    def _send(self, subscription: Subscription, portion: Portion) -> None:
        frames = portion.frames(subscription.id_json)
        if frames:
            subscription.peer.write(frames)
        self._counters.sent += portion.events
        self._counters.dropped += portion.lost


def _place(subscription: Subscription, source: object, positions: Positions) -> Place:
    view = subscription.view_key
    return Place(source, view.where_json, view.latest_only, tuple(sorted(positions.items())))


def _behind(positions: Positions, low: Positions) -> Positions:
    """Where to read those partitions whose next event the window no longer has."""
    return {p: positions[p] for p, first in low.items() if positions.get(p, first) < first}


def _of_window(
    subscription: Subscription,
    window: RecentWindow,
    scan: SharedScan | None,
    number: int,
    positions: Positions,
) -> Portion:
    """What comes next of the window, from event ``number`` on."""
    number = max(number, window.head)
    if scan is not None and scan.upto < number + SCAN_EVENTS:
        scan.look(SCAN_EVENTS)
    numbered = (
        enumerate(islice(window.after(number), SCAN_EVENTS), number)
        if scan is None
        else scan.passing(number)
    )
    looked = min(number + SCAN_EVENTS, window.end) if scan is None else max(number, scan.upto)
    full = looked < window.end
    events: list[EncodedEvent] = []
    size_bytes = 0
    for at, event in numbered:
        if event.offset >= positions.get(event.partition, 0):
            events.append(event)
            size_bytes += event.size_bytes
            if size_bytes > FRAME_BYTES:
                looked, full = at + 1, True
                break
    following = dict(positions)
    for partition, offset in before(window.after(looked), window.positions).items():
        # the log may have been read further than the part of the window looked at
        following[partition] = max(following.get(partition, 0), offset)
    latest_only = subscription.view_key.latest_only
    return Portion(events, following, latest_only=latest_only, number=looked, full=full)


def _of_blocks(
    subscription: Subscription, blocks: dict[int, Block], positions: Positions
) -> Portion:
    """What comes next of the log, partition by partition."""
    events: list[EncodedEvent] = []
    following = dict(positions)
    lost = size_bytes = 0
    for partition, block in blocks.items():
        position = following[partition]
        lost += max(0, block.first_offset - position)
        for event in block.passing(
            subscription.where, subscription.view_key.where_json, from_offset=position
        ):
            events.append(event)
            size_bytes += event.size_bytes
            if size_bytes > FRAME_BYTES:
                break
        else:
            following[partition] = max(position, block.next_offset)
            continue
        following[partition] = events[-1].offset + 1
        break
    return Portion(events, following, latest_only=subscription.view_key.latest_only, lost=lost)

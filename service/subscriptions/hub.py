"""All subscriptions of this process: from catching up to the passes, and the topics that are read.

A topic is read while somebody watches it and a little longer.
"""

import asyncio
from collections.abc import Iterator

import structlog

from service.consumers.topic_reader import ReaderFactory, UnknownTopicError
from service.metrics import HubCounters
from service.peer import Peer, PeerGoneError
from service.subscriptions.catch_up import UNKNOWN_TOPIC, CatchUp, SubscriptionLostError
from service.subscriptions.feed import Bounds, TopicFeed, ViewKey
from service.subscriptions.group import Group
from service.subscriptions.passes import Passes
from service.subscriptions.protocol import Overflow, Subscribe, error_frame
from service.subscriptions.share import LoopShare
from service.subscriptions.subscription import Subscription

_log = structlog.get_logger(__name__)

READING_SHARE = 0.25
"""What reading for dashboards may take of an event loop that the pipelines keep busy."""

WRITING_SHARE = 0.05
"""What passes may take of it.  Less than for reading: a pass that waits longer coalesces more,
and costs the less for it; reading that waits falls behind."""

IDLE_SHARE = 0.5
"""What reading may take of a loop that has nothing else to do."""

WRITING_IDLE_SHARE = 0.8
"""What passes may take of it.  With a thousand dashboards a pass takes a tenth of a second, and
while the next one has to wait, so do the events."""

LINGER_S = 30.0
"""How long a topic is read on after its last client left."""


class _Watched:
    """A topic that is read.

    Attributes:
        feed: What reads it.
        task: In which it does.
        retiring: When to see whether nobody watches it any more, if somebody has left.
    """

    __slots__ = ("feed", "retiring", "task")

    def __init__(self, feed: TopicFeed, task: asyncio.Task[None]) -> None:
        self.feed = feed
        self.task = task
        self.retiring: asyncio.TimerHandle | None = None


class SubscriptionHub:
    """All dashboards of this process.

    Args:
        readers: Opens Kafka readers.
        bounds: What is kept per view and topic.
        overflow: Policy of clients that name none.
        counters: What is counted.
    """

    def __init__(
        self,
        readers: ReaderFactory,
        *,
        bounds: Bounds | None = None,
        overflow: Overflow = Overflow.DROP_OLDEST,
        counters: HubCounters | None = None,
    ) -> None:
        self.counters = counters or HubCounters()
        self._overflow = overflow
        self._bounds = bounds or Bounds()
        self._readers = readers
        self._reading = LoopShare(READING_SHARE, idle_share=IDLE_SHARE)
        history = LoopShare(READING_SHARE, idle_share=IDLE_SHARE)
        self._catch_up = CatchUp(readers, history, self.counters)
        self._feeds: dict[str, _Watched] = {}
        self._groups: dict[tuple[str, ViewKey], Group] = {}
        self._following: dict[Subscription, asyncio.Task[None]] = {}
        writing = LoopShare(WRITING_SHARE, idle_share=WRITING_IDLE_SHARE)
        self._passes = Passes(self._groups.values(), writing)
        self._tasks: asyncio.TaskGroup | None = None
        self._pass_task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to serve; what runs in the background runs in ``tasks`` until :meth:`stop`."""
        self._tasks = tasks
        self._pass_task = tasks.create_task(self._passes.run(), name="subscription passes")

    def stop(self) -> None:
        """Stop reading and writing; connections are the server's to close."""
        reading = [watched.task for watched in self._feeds.values()]
        for task in (self._pass_task, *reading, *self._following.values()):
            if task is not None:
                task.cancel()

    def subscribe(self, peer: Peer, request: Subscribe) -> Subscription:
        """Serve ``request`` to ``peer``, who is answered in due course.

        The caller has checked that ``peer`` may read the topic.
        """
        if self._tasks is None:
            raise RuntimeError("the hub is not started")
        feed = self._feed(request.topic, self._tasks)
        overflow = request.overflow or self._overflow
        subscription = Subscription(peer, request, overflow)
        self._following[subscription] = self._tasks.create_task(
            self._follow(subscription, feed), name=f"follow {request.topic}"
        )
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget ``subscription``; nothing is written for it any more."""
        following = self._following.pop(subscription, None)
        if following is not None:
            following.cancel()
        key = (subscription.topic, subscription.view_key)
        group = self._groups.get(key)
        if group is not None:
            group.leave(subscription)
            if not group.subscriptions:
                del self._groups[key]
                del group.feed.views[subscription.view_key]
        if not self._is_watched(subscription.topic):
            self._retire_later(subscription.topic)

    async def _follow(self, subscription: Subscription, feed: TopicFeed) -> None:
        """Bring ``subscription`` up to the present and hand it to the passes."""
        try:
            await self._catch_up.run(subscription, feed)
        except PeerGoneError:
            return
        except SubscriptionLostError as error:
            self._end(subscription, error.code, str(error))
            return
        except Exception:  # noqa: BLE001 -- the boundary of a task
            # one client's trouble is not the pipelines'
            _log.exception("subscription failed", topic=subscription.topic)
            self._end(subscription, "internal", "internal error")
            return
        finally:
            self._following.pop(subscription, None)
        # no await since the last event was looked at: what comes next belongs to the passes
        key = (subscription.topic, subscription.view_key)
        group = self._groups.get(key)
        if group is None:
            view = feed.view(subscription.view_key, subscription.where)
            filtered = subscription.where is not None
            group = self._groups[key] = Group(feed, view, self.counters, filtered=filtered)
        group.join(subscription)
        if subscription.gap_due:
            self._passes.wake()

    def _end(self, subscription: Subscription, code: str, message: str) -> None:
        """Tell the client that its subscription is over; it may try again."""
        subscription.peer.write(error_frame(subscription.id_json, code, message, retryable=True))
        subscription.ended = True
        self._retire_later(subscription.topic)  # nobody need unsubscribe from what has ended

    # -- topics ----------------------------------------------------------------------------

    def _feed(self, topic: str, tasks: asyncio.TaskGroup) -> TopicFeed:
        watched = self._feeds.get(topic)
        if watched is None:
            feed = TopicFeed(
                topic,
                self._readers,
                bounds=self._bounds,
                share=self._reading,
                on_events=self._passes.on_events,
                on_lost=self._lost,
                on_gone=self._gone,
            )
            task = tasks.create_task(feed.run(), name=f"feed {topic}")
            watched = self._feeds[topic] = _Watched(feed, task)
        return watched.feed

    def _is_watched(self, topic: str) -> bool:
        return any(s.topic == topic for s in self._following) or any(
            key[0] == topic for key in self._groups
        )

    def _retire_later(self, topic: str) -> None:
        watched = self._feeds.get(topic)
        if watched is None:
            return
        if watched.retiring is not None:
            watched.retiring.cancel()
        loop = asyncio.get_running_loop()
        watched.retiring = loop.call_later(LINGER_S, self._retire, topic)

    def _retire(self, topic: str) -> None:
        if not self._is_watched(topic):
            self._feeds.pop(topic).task.cancel()

    def _lost(self, feed: TopicFeed, count: int) -> None:
        for group in self._groups_of(feed):
            for subscription in group.subscriptions:
                subscription.missed += count
                subscription.gap_due = True
        for subscription in self._following:
            # What it has missed is counted where it reads.  But a topic that was made anew has
            # offsets that it believes to have: it would pass them over without a word.
            subscription.gap_due |= subscription.topic == feed.topic
        self._passes.wake()

    def _gone(self, feed: TopicFeed, error: UnknownTopicError) -> None:
        """Tell whoever is in the present; the others find out where they read."""
        for group in list(self._groups_of(feed)):
            for subscription in list(group.subscriptions):
                self.unsubscribe(subscription)
                self._end(subscription, UNKNOWN_TOPIC, str(error))

    def _groups_of(self, feed: TopicFeed) -> Iterator[Group]:
        return (group for group in self._groups.values() if group.feed is feed)

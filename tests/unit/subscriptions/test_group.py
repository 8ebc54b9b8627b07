"""One pass over the clients of a view: who gets what when the pass takes long."""

import asyncio

import pytest

from service.events import SourceRecord
from service.metrics import HubCounters
from service.subscriptions import group as group_module
from service.subscriptions.encoding import encode
from service.subscriptions.feed import Bounds, TopicFeed, ViewKey
from service.subscriptions.group import Group
from service.subscriptions.positions import FromLatest
from service.subscriptions.protocol import Overflow, Subscribe
from service.subscriptions.share import LoopShare
from service.subscriptions.subscription import Subscription
from service.subscriptions.views import RingView
from tests.edge.fakes import FakeLog, FakePeer

VIEW = ViewKey(b"null", latest_only=False)


class Topic:
    """A feed that is filled by hand, and a group of its clients."""

    def __init__(self) -> None:
        share = LoopShare(1.0)
        self.feed = TopicFeed(
            "alerts", FakeLog(alerts=1), bounds=Bounds(), share=share,
            on_events=lambda _: asyncio.Event(), on_lost=lambda _feed, _count: None,
            on_gone=lambda _feed, _error: None,
        )  # fmt: skip
        view = self.feed.view(VIEW, None)
        assert isinstance(view, RingView)
        self.view = view
        self.group = Group(self.feed, view, HubCounters(), filtered=False)
        self.feed.window.advance(0, 0)

    def append(self) -> None:
        """One more event arrives."""
        offset = self.feed.window.positions[0]
        event, _ = encode(0, SourceRecord(b'{"n":1}', key=None, offset=offset, timestamp=0))
        self.view.append(event)
        self.feed.window.advance(0, offset + 1)

    def join(self, peer: FakePeer) -> Subscription:
        request = Subscribe(
            id_json=b"1", topic="alerts", start=FromLatest(), where=None, where_json=b"null",
            overflow=None,
        )  # fmt: skip
        subscription = Subscription(peer, request, Overflow.DROP_OLDEST)
        self.group.join(subscription)
        return subscription


class Busy(FakePeer):
    """A client during whose write another event arrives."""

    def __init__(self, topic: Topic) -> None:
        super().__init__()
        self._topic = topic

    def write(self, frames: bytes) -> None:
        super().write(frames)
        self._topic.append()


def slow_pass(monkeypatch: pytest.MonkeyPatch, *, fresh_s: float) -> None:
    """Every client takes a slice of its own."""
    monkeypatch.setattr(group_module, "_SLICE_STEP", 1)
    monkeypatch.setattr(group_module, "_SLICE_S", -1.0)
    monkeypatch.setattr(group_module, "_FRESH_S", fresh_s)


async def test_who_is_served_late_in_a_long_pass_gets_what_has_come_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic()
    first, second = Busy(topic), FakePeer()
    topic.join(first)
    topic.join(second)
    topic.append()
    slow_pass(monkeypatch, fresh_s=-1.0)

    behind = await topic.group.serve(LoopShare(1.0))

    assert first.offsets() == [0]
    assert second.offsets() == [0, 1]
    assert second.next() == {"0": 2}
    assert behind, "the first one still has to get the second event"


async def test_the_clients_of_a_short_pass_get_the_same_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic()
    first, second = Busy(topic), FakePeer()
    topic.join(first)
    topic.join(second)
    topic.append()
    slow_pass(monkeypatch, fresh_s=60.0)

    await topic.group.serve(LoopShare(1.0))

    assert first.raw[0] is second.raw[0]


async def test_every_client_gets_every_event_once_however_the_passes_fall(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    topic = Topic()
    peers = [Busy(topic), FakePeer(), Busy(topic), FakePeer()]
    for peer in peers:
        topic.join(peer)
    topic.append()
    slow_pass(monkeypatch, fresh_s=-1.0)

    for _ in range(5):
        await topic.group.serve(LoopShare(1.0))

    told = [peer.offsets() for peer in peers]
    longest = max(told, key=len)
    assert longest == list(range(len(longest)))
    assert all(offsets == longest[: len(offsets)] for offsets in told)
    assert min(map(len, told)) >= len(longest) - 2

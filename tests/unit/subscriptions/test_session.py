"""A dashboard's connection over a peer that is a list."""

import asyncio

from service.peer import CloseCode
from service.subscriptions.feed import Bounds
from service.subscriptions.hub import LINGER_S, SubscriptionHub
from service.subscriptions.session import SubscriberSession
from tests.edge.fakes import FakeLog, FakePeer


class HastyPeer(FakePeer):
    """Subscribes once more before it hears that it is closed."""

    def close_soon(self, code: CloseCode, reason: str) -> None:
        self.say({"type": "subscribe", "id": 2, "topic": "alerts"})
        super().close_soon(code, reason)


async def test_whoever_subscribes_while_it_is_disconnected_leaves_nothing_behind() -> None:
    log = FakeLog(alerts=1)
    hub = SubscriptionHub(log, bounds=Bounds(queue_events=10))
    peer = HastyPeer()
    session = SubscriberSession(peer, hub, may_read=lambda _topic: True, max_subscriptions=10)
    async with asyncio.TaskGroup() as tasks:
        hub.start(tasks)
        tasks.create_task(session.run())
        peer.say({"type": "subscribe", "id": 1, "topic": "alerts", "overflow": "disconnect"})
        await asyncio.sleep(1)
        peer.stuck = True
        for n in range(11):
            log.append("alerts", {"n": n})
        await asyncio.sleep(2 * LINGER_S)
        reading = log.reading
        hub.stop()

    assert peer.closed is not None
    assert reading == 0

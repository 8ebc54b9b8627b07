"""Whoever comes back, whenever, with whatever filter: everything once, in order, to the present."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import orjson
from hypothesis import given
from hypothesis import strategies as st

from service.subscriptions import catch_up, history
from service.subscriptions.feed import Bounds
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.positions import FromEarliest, FromOffsets
from service.subscriptions.protocol import Overflow, Subscribe
from service.testing import virtual_time
from tests.edge.fakes import FakeLog, FakePeer

PARTITIONS = 2


def _divisible(divisor: int) -> Callable[[Any], bool] | None:
    return None if divisor == 1 else lambda value: bool(value["n"] % divisor == 0)


@dataclass(frozen=True)
class Coming:
    """A client that comes back.

    Attributes:
        after_s: When.
        offsets: Where it is; ``None`` begins at the beginning.
        divisor: Of the numbers that it wants.
        stuck_s: For how long its socket takes nothing.
        id_json: Its name for the subscription.
    """

    after_s: float
    offsets: tuple[int, int] | None
    divisor: int
    stuck_s: float
    id_json: bytes

    async def come(self, hub: SubscriptionHub, peer: FakePeer) -> None:
        await asyncio.sleep(self.after_s)
        start = (
            FromEarliest() if self.offsets is None else FromOffsets(dict(enumerate(self.offsets)))
        )
        peer.stuck = self.stuck_s > 0
        hub.subscribe(
            peer,
            Subscribe(
                id_json=self.id_json,
                topic="t",
                start=start,
                where=_divisible(self.divisor),
                where_json=b"%d" % self.divisor,
                overflow=Overflow.DROP_OLDEST,
            ),
        )
        await asyncio.sleep(self.stuck_s)
        peer.unstick()


COMING = st.builds(
    Coming,
    after_s=st.sampled_from([0.0, 0.0, 0.3, 1.0]),
    offsets=st.none() | st.tuples(*[st.integers(0, 60)] * PARTITIONS),
    divisor=st.sampled_from([1, 1, 2, 3]),
    stuck_s=st.sampled_from([0.0, 0.0, 0.5]),
    id_json=st.sampled_from([b"1", b"1", b'"two"']),
)


@given(
    stored=st.integers(0, 120),
    bursts=st.lists(st.integers(0, 12), max_size=12),
    clients=st.lists(COMING, min_size=1, max_size=8),
    window_events=st.integers(1, 40),
    max_records=st.integers(1, 40),
    frame_bytes=st.sampled_from([300, 2_000, 64 * 1024]),
    scan_events=st.sampled_from([3, 1000]),
    block_offsets=st.sampled_from([4, 1024]),
)
def test_everybody_gets_what_passes_once_and_in_order(
    *,
    stored: int,
    bursts: list[int],
    clients: list[Coming],
    window_events: int,
    max_records: int,
    frame_bytes: int,
    scan_events: int,
    block_offsets: int,
) -> None:
    peers = [FakePeer() for _ in clients]

    async def main() -> FakeLog:
        log = FakeLog(t=PARTITIONS)
        log.max_records = max_records
        for n in range(stored):
            log.append("t", {"n": n}, partition=n % PARTITIONS)
        # nothing is dropped for its size: what is asked is whether the joints are tight
        bounds = Bounds(queue_events=10_000, queue_bytes=1 << 30, window_events=window_events)
        hub = SubscriptionHub(log, bounds=bounds)
        async with asyncio.TaskGroup() as tasks:
            hub.start(tasks)
            async with asyncio.TaskGroup() as coming:
                for client, peer in zip(clients, peers, strict=True):
                    coming.create_task(client.come(hub, peer))
                n = stored
                for burst in bursts:
                    for _ in range(burst):
                        log.append("t", {"n": n}, partition=n % PARTITIONS)
                        n += 1
                    await asyncio.sleep(0.13)
            await asyncio.sleep(5)
            hub.stop()
        return log

    with (
        patch.multiple(catch_up, FRAME_BYTES=frame_bytes, SCAN_EVENTS=scan_events),
        patch.object(history, "BLOCK_OFFSETS", block_offsets),
    ):
        log = virtual_time.run(main())

    for client, peer in zip(clients, peers, strict=True):
        begun = peer.heard("subscribed")[0]["positions"]
        for partition in range(PARTITIONS):
            numbers = range(partition, stored + sum(bursts), PARTITIONS)
            wanted = [
                offset
                for offset, n in enumerate(numbers)
                if n % client.divisor == 0 and offset >= begun.get(str(partition), 0)
            ]
            assert peer.offsets(partition) == wanted
        assert {message["id"] for message in peer.heard()} == {orjson.loads(client.id_json)}
        asked = enumerate(client.offsets or ())
        beyond = any(offset > begun[str(partition)] for partition, offset in asked)
        assert [gap["dropped"] for gap in peer.heard("gap")] == ([0] if beyond else [])
        assert not peer.heard("error")
    assert log.reading == 0

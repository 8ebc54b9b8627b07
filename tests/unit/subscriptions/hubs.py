"""A hub over an in-memory log, and what clients ask it for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from service.subscriptions.feed import Bounds
from service.subscriptions.hub import SubscriptionHub
from service.subscriptions.passes import PASS_INTERVAL_S
from service.subscriptions.positions import Start
from service.subscriptions.protocol import Overflow, Subscribe
from tests.edge.fakes import FakeLog

SMALL = Bounds(queue_events=10, queue_bytes=10_000, window_events=20, window_bytes=100_000)


@asynccontextmanager
async def running_hub(log: FakeLog, bounds: Bounds = SMALL) -> AsyncIterator[SubscriptionHub]:
    hub = SubscriptionHub(log, bounds=bounds)
    async with asyncio.TaskGroup() as tasks:
        hub.start(tasks)
        try:
            yield hub
        finally:
            hub.stop()


def wish(
    start: Start,
    *,
    where: Callable[[Any], bool] | None = None,
    overflow: Overflow | None = None,
    id_json: bytes = b"1",
    topic: str = "alerts",
) -> Subscribe:
    return Subscribe(
        id_json=id_json,
        topic=topic,
        start=start,
        where=where,
        where_json=b"null" if where is None else where.__name__.encode(),
        overflow=overflow,
    )


def odd(value: Any) -> bool:
    return bool(value["n"] % 2)


async def settle() -> None:
    await asyncio.sleep(20 * PASS_INTERVAL_S)

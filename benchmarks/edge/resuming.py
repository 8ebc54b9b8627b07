"""Everybody comes back at once: after a restart, or when the network was away for a moment."""

import asyncio
import re
import time
from collections import Counter
from typing import Any

import orjson

from benchmarks.edge.clients import Client
from benchmarks.edge.fanout import producing
from benchmarks.edge.producer import SERVICES
from benchmarks.edge.servers import Server, headrace
from service.clock import wall_clock_ms

AWAY_S = 10.0
PRESENT_MS = 1000
"""Who gets an event that is no older is back in the present."""
GIVE_UP_S = 60.0
AT_ONCE = 50
_NUMBERS = re.compile(rb'"n":(\d+)')
_STAMPS = re.compile(rb'"timestamp":(\d+)')


class Watcher:
    """A dashboard that remembers how far it has got.

    Attributes:
        next: The position to resume from.
        wrong: Events that came twice, or were left out.
        refused: The last error that it was told.
        present_after_s: How long it took to be back in the present.
    """

    def __init__(self, topic: str, where: dict[str, Any] | None) -> None:
        self._request: dict[str, Any] = {"type": "subscribe", "id": 1, "topic": topic}
        if where is not None:
            self._request["where"] = where
        self._last: dict[int, int] = {}
        self._back_at_s = 0.0
        self.next: dict[str, int] = {}
        self.client: Client | None = None
        self.wrong = 0
        self.refused = b""
        self.present_after_s: float | None = None

    async def connect(self, port: int) -> None:
        """Connect, from where it was."""
        if self.next:
            self._request["from"] = {"offsets": self.next}
            self._back_at_s = time.monotonic()
        hello = orjson.dumps(self._request)
        _, self.client = await asyncio.get_running_loop().create_connection(
            lambda: Client("/subscribe", hello, self._frame), "127.0.0.1", port
        )
        await self.client.opened

    def _frame(self, payload: bytes) -> None:
        seen = _seen(payload)
        if seen is None:
            if payload.startswith(b'{"type":"error"'):
                self.refused = payload
            return
        numbers, self.next, newest_ms = seen
        last = self._last
        for number in numbers:
            service = number % SERVICES
            if last.get(service, number - SERVICES) != number - SERVICES:
                self.wrong += 1
            last[service] = number
        late_ms = wall_clock_ms() - newest_ms
        if self._back_at_s and self.present_after_s is None and late_ms < PRESENT_MS:
            self.present_after_s = time.monotonic() - self._back_at_s


_parsed: dict[bytes, tuple[list[int], dict[str, int], int] | None] = {}


def _seen(payload: bytes) -> tuple[list[int], dict[str, int], int] | None:
    """Numbers of the events of a frame, what follows them, and the newest one's time."""
    try:
        return _parsed[payload]
    except KeyError:
        pass
    if len(_parsed) > 200:
        _parsed.clear()
    following = orjson.loads(payload).get("next")
    found = None
    if following is not None:
        stamps = [int(stamp) for stamp in _STAMPS.findall(payload)]
        numbers = [int(number) for number in _NUMBERS.findall(payload)]
        found = numbers, following, max(stamps, default=0)
    _parsed[payload] = found
    return found


async def resume(
    bootstrap: str, topic: str, *, subscribers: int, rate: int, filtered: bool
) -> dict[str, Any]:
    """All leave, miss what comes for :data:`AWAY_S`, and come back together.

    Args:
        bootstrap: Kafka.
        topic: Of its own.
        subscribers: How many.
        rate: Events a second.
        filtered: Whether each watches one of the services only.
    """
    watchers = [
        Watcher(topic, {"field": "service", "equals": f"web-{n % SERVICES}"} if filtered else None)
        for n in range(subscribers)
    ]
    async with headrace(bootstrap, topic) as server, producing(bootstrap, topic, rate):
        await _connect(watchers, server)
        await asyncio.sleep(3)
        for watcher in watchers:
            if watcher.client is not None:
                watcher.client.transport.abort()
        await asyncio.sleep(AWAY_S)
        began_s, cpu_s = time.monotonic(), server.cpu_s
        peak_mib = server.rss_mib
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_connect(watchers, server))
            while time.monotonic() < began_s + GIVE_UP_S:
                await asyncio.sleep(0.25)
                peak_mib = max(peak_mib, server.rss_mib)
                if all(watcher.present_after_s is not None for watcher in watchers):
                    break
        cpu = (server.cpu_s - cpu_s) / (time.monotonic() - began_s)
        await asyncio.sleep(1)
        lost = sum(w.client is not None and w.client.closed_at_s is not None for w in watchers)
    back_s = sorted(w.present_after_s for w in watchers if w.present_after_s is not None)
    return {
        "back in the present": f"{len(back_s)} of {subscribers}",
        "after s: median, p99, last": _quantiles(back_s),
        "events twice or left out": sum(watcher.wrong for watcher in watchers),
        "connections lost": lost,
        "errors": dict(Counter(watcher.refused for watcher in watchers if watcher.refused)),
        "server CPU": f"{cpu:.0%}",
        "server RSS MiB, at the most": f"{peak_mib:.1f}",
    }


async def _connect(watchers: list[Watcher], server: Server) -> None:
    for at in range(0, len(watchers), AT_ONCE):
        group = watchers[at : at + AT_ONCE]
        await asyncio.gather(*(watcher.connect(server.port) for watcher in group))


def _quantiles(back_s: list[float]) -> str:
    if not back_s:
        return "none"
    at = (len(back_s) // 2, int(0.99 * (len(back_s) - 1)), -1)
    return ", ".join(f"{back_s[place]:.2f}" for place in at)

"""Keeps a Kafka client from waiting for one broker that is silent while others would answer.

The client tries addresses one after the other, in any order, and waits 40 s for each.  Nobody
refuses a connection to a machine that is switched off, so a client that tries it first is given up
before it has tried another one: with one of three brokers gone that is a third of all that are
made.  Connections to several brokers wait for each other as well.
"""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka import client

PRIVATE_NAMES: Final = {"aiokafka.client": ("collect_hosts", "create_conn")}
"""What is replaced, by module; a test pins it."""

FIRST_WAIT_S: Final = 5.0
"""For a connection to an address of which nothing is known, where there are others to turn to.

Each time that it was too short, twice as much is given, so that a broker that is only slow is
reached; then the client's own ``request_timeout_ms`` is the bound.
"""
LONGEST_WAIT_S: Final = 40.0

Address = tuple[str, int]

_waited_s: Final[dict[Address, float]] = {}
"""Addresses that were silent when they were last tried, and for how long that was waited for."""
_only: Final[set[Address]] = set()
"""Addresses of clients that know no other to turn to."""


def wait_briefly_for_silent_brokers() -> None:
    """Have every Kafka client of this process try those first that were not silent."""
    module: Any = client
    if getattr(module.collect_hosts, "knows_the_silent", False):
        return
    module.collect_hosts = _silent_ones_last(module.collect_hosts)
    module.create_conn = _briefly(module.create_conn)


def _silent_ones_last(collect: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    @functools.wraps(collect)
    def collect_and_sort(*arguments: Any, **options: Any) -> list[Any]:
        hosts = collect(*arguments, **options)
        if len(hosts) == 1:
            _only.add(hosts[0][:2])
        return sorted(hosts, key=lambda host: _waited_s.get(host[:2], 0.0))

    collect_and_sort.knows_the_silent = True  # type: ignore[attr-defined]
    return collect_and_sort


def _briefly(connect: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(connect)
    async def connect_briefly(host: str, port: int, **options: Any) -> Any:
        address = host, port
        before_s = LONGEST_WAIT_S if address in _only else FIRST_WAIT_S / 2
        wait_s = min(2 * _waited_s.get(address, before_s), LONGEST_WAIT_S)
        try:
            async with asyncio.timeout(wait_s):
                connection = await connect(host, port, **options)
        except TimeoutError:
            _waited_s[address] = wait_s
            raise
        _waited_s.pop(address, None)
        return connection

    return connect_briefly

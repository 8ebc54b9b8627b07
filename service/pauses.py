"""A pause between a Kafka client's questions, where it would ask as fast as it is answered.

The client's reader and its sender ask for metadata whenever a partition has no leader, and ask
again as soon as the answer is there.  While a broker is away that shut down in order, which tells
everybody that its partitions have no leader, and while a partition has none in a cluster that is
up, that is as fast as an answer comes or a connection fails: 150 to 500 times a second were seen.
The Java client has a pause of the same length there (its ``retry.backoff.ms``).

It also fetches again as soon as a fetch is answered.  A broker that has nothing keeps the question
for ``fetch_max_wait_ms``, but not if it has an error to tell of, and the broker of ``headrace
demo`` never does: 2,000 fetches a second were seen there.

And it asserts that it knows a broker when it looks for a coordinator, which the first answer of a
broker that is just starting does not give it: a traceback, and the end of the client.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest

PRIVATE_NAMES: Final = {"AIOKafkaClient": ("_metadata_update",)}
"""What is replaced of the client; a test pins it."""

PAUSE_S: Final = 0.1
"""Least time from the end of one question for metadata to the next."""
EMPTY_S: Final = 0.01
"""Least time that a fetch takes which brings nothing."""
KNOWN_WITHIN_S: Final = 5.0
"""Longest wait for a first broker; then the client says itself that it knows none."""


def pause_between_questions(client: Any) -> None:
    """Have ``client`` ask for metadata and for records no faster than makes sense.

    From the end of one question for metadata to the next it takes :data:`PAUSE_S`; what asks
    meanwhile shares the next question.  A fetch that brings nothing takes :data:`EMPTY_S`.  Before
    it looks for a coordinator it waits until it knows a broker, for :data:`KNOWN_WITHIN_S`.

    Args:
        client: An ``AIOKafkaClient``; one without the names that we know is left as it is.
    """
    for name, paused in (
        ("_metadata_update", _calmly),
        ("send", _not_for_nothing),
        ("coordinator_lookup", partial(_once_a_broker_is_known, client)),
    ):
        ask: Callable[..., Awaitable[Any]] | None = getattr(client, name, None)
        if ask is not None:
            setattr(client, name, paused(ask))


def _calmly(ask: Callable[..., Awaitable[bool]]) -> Callable[..., Awaitable[bool]]:
    ended_s = float("-inf")

    async def ask_calmly(*arguments: Any) -> bool:
        nonlocal ended_s
        loop = asyncio.get_running_loop()
        wait_s = ended_s + PAUSE_S - loop.time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
        try:
            return await ask(*arguments)
        finally:
            ended_s = loop.time()

    return ask_calmly


def _once_a_broker_is_known(
    client: Any, look: Callable[..., Awaitable[Any]]
) -> Callable[..., Awaitable[Any]]:
    async def look_then(*arguments: Any) -> Any:
        if client.get_random_node() is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(KNOWN_WITHIN_S):
                    while client.get_random_node() is None:
                        await client.force_metadata_update()
                        await asyncio.sleep(PAUSE_S)
        return await look(*arguments)

    return look_then


def _not_for_nothing(send: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def send_and_wait(node_id: Any, request: Any, **options: Any) -> Any:
        if not isinstance(request, FetchRequest):
            return await send(node_id, request, **options)
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        answer = await send(node_id, request, **options)
        wait_s = began_s + EMPTY_S - loop.time()
        if wait_s > 0 and not _has_records(answer):
            await asyncio.sleep(wait_s)
        return answer

    return send_and_wait


def _has_records(answer: Any) -> bool:
    """Whether any partition of an answer to a fetch has some; they are its last field."""
    return any(fields[-1] for _, partitions in answer.topics for fields in partitions)

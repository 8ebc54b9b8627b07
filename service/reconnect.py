"""A pause between a Kafka client's questions about its brokers.

The client's reader and its sender ask for metadata whenever a partition has no leader, and ask
again as soon as the answer is there.  While a broker is away that shut down in order, which tells
everybody that its partitions have no leader, and while a partition has none in a cluster that is
up, that is as fast as an answer comes or a connection fails: 150 to 500 times a second were seen.
The Java client has a pause of the same length there (its ``retry.backoff.ms``).
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

PRIVATE_NAMES: Final = {"AIOKafkaClient": ("_metadata_update",)}
"""What is replaced of the client; a test pins it."""

PAUSE_S: Final = 0.1
"""Least time from the end of one question to the next."""


def pause_between_questions(client: Any) -> None:
    """Have ``client`` wait until :data:`PAUSE_S` have passed since it last asked for metadata.

    What asks meanwhile shares the next question.

    Args:
        client: An ``AIOKafkaClient``; one without the names that we know is left as it is.
    """
    ask: Callable[..., Awaitable[bool]] | None = getattr(client, "_metadata_update", None)
    if ask is None:
        return
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

    client._metadata_update = ask_calmly  # noqa: SLF001 -- see PRIVATE_NAMES

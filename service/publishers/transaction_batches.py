"""Sending the batches of one transaction, each answer checked."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final, cast

from service.publishers.base import BatchWriter, ProduceFailedError, TransactionalClient
from service.publishers.output import OutputPartition, Sealed
from service.publishers.runs import Run

SEND_TIMEOUT_S: Final = 20.0
"""Longest wait for the broker's answers inside one transaction, below its own timeout."""


async def send_outputs(
    producer: TransactionalClient,
    outputs: Collection[OutputPartition],
    refused: Callable[[str, Sealed], object],
    *,
    fits: Callable[[str, int, int], bool],
) -> Mapping[str, list[Run]]:
    """Send ``outputs``, each in its order, and check every single answer.

    The client commits a transaction although a batch of it failed, so an unchecked answer would
    be a lost result.

    Args:
        producer: Has begun the transaction.
        outputs: What to send.
        refused: Told of a topic and a batch that was too large for it; the transaction fails then,
            and what it would do again has to fit.
        fits: Whether what is for a partition of a topic belongs there while it has a number of
            partitions.

    Returns:
        What was sent, by topic.

    Raises:
        ServiceError: If not all of it is stored.
        TimeoutError: If that is not known in time.
    """
    sent: defaultdict[str, list[Run]] = defaultdict(list)
    for output in outputs:
        output.seal()
        for batch in output.sealed:
            sent[output.topic] += batch.runs
    async with asyncio.timeout(SEND_TIMEOUT_S):
        for topic in {output.topic for output in outputs}:
            if producer.partitions(topic) is None:
                await producer.find(topic)
        for output in outputs:
            count = producer.partitions(output.topic)
            if count is None or not fits(output.topic, output.partition, count):
                raise ProduceFailedError(f"topic {output.topic} has {count or 'no'} partitions now")
        await asyncio.gather(*(_send_output(producer, output, refused) for output in outputs))
    return sent


async def _send_output(
    producer: TransactionalClient,
    output: OutputPartition,
    refused: Callable[[str, Sealed], object],
) -> None:
    while output.sealed:
        sealed = output.sealed.popleft()
        # there is one: a queue has a producer, which makes it
        writer = cast("BatchWriter", sealed.writer)
        try:
            await (await producer.send(output.topic, output.partition, writer))
        except ProduceFailedError as exc:
            if exc.too_large:
                refused(output.topic, sealed)
            raise

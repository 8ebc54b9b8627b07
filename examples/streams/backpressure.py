"""A slow consumer slows down a fast producer; nothing piles up in between.

Runs in virtual time, so the times are exact and the example ends at once.

Prints::

    at 0.0 s the producer has sent 5
    at 1.0 s the producer has sent 6
    at 2.0 s the producer has sent 7
    received 7 items, never more than 4 in the channel
"""

import asyncio

from service.channels import Sender, channel
from service.streams import ReceiverStream
from service.testing import virtual_time

CAPACITY = 4


async def produce(sender: Sender[int]) -> None:
    """Send as fast as the channel takes it."""
    async with sender:
        for number in range(7):
            await sender.send(number)  # waits while the channel is full
            if number >= CAPACITY:
                now_s = asyncio.get_running_loop().time()
                print(f"at {now_s} s the producer has sent {number + 1}")


async def main() -> None:
    """Let a slow consumer read from a small channel."""
    sender, receiver = channel[int](CAPACITY)
    received: list[int] = []

    async def consume(number: int) -> None:
        await asyncio.sleep(1)
        received.append(number)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(produce(sender))
        await ReceiverStream(receiver, chunk=1).for_each(consume)
    peak = receiver.statistics().peak
    print(f"received {len(received)} items, never more than {peak} in the channel")


if __name__ == "__main__":
    virtual_time.run(main())

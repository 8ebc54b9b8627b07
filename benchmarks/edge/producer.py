"""Events at a steady rate, and when Kafka acknowledged each: a process of its own.

    python -m benchmarks.edge.producer BOOTSTRAP TOPIC RATE

After SIGTERM it prints one JSON array: the monotonic time of each event's acknowledgement.  Of its
own, so that the loop that receives for a thousand clients does not delay what it stamps.
"""

import asyncio
import signal
import sys
import time
from functools import partial
from typing import Any

import orjson
import uvloop
from aiokafka import AIOKafkaProducer

SERVICES = 20
"""They take turns; each has a key of its own."""
PADDING = "disk almost full on /var/lib, 93 % used, cleaning does not help"


def main() -> None:
    bootstrap, topic, rate = sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        acked_at_s = runner.run(produce(bootstrap, topic, int(rate)))
    sys.stdout.buffer.write(orjson.dumps(acked_at_s))


async def produce(bootstrap: str, topic: str, rate: int) -> list[float]:
    acked_at_s: list[float] = []
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()

    def acked(n: int, _done: asyncio.Future[Any]) -> None:
        acked_at_s[n] = time.monotonic()

    began_s = loop.time()
    while not stop.is_set():
        n = len(acked_at_s)
        acked_at_s.append(0.0)
        service = f"web-{n % SERVICES}"
        value = orjson.dumps({"level": "ERROR", "n": n, "service": service, "message": PADDING})
        future = await producer.send(topic, value, key=service.encode())
        future.add_done_callback(partial(acked, n))
        await asyncio.sleep(max(0.0, began_s + (n + 1) / rate - loop.time()))
    await producer.stop()
    return acked_at_s


if __name__ == "__main__":
    main()

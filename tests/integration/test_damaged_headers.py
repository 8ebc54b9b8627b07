"""Batches whose stored header lies about where they end, in the log of a real broker.

The checksum finds each of them.  What is asked is that nothing beside them is lost or read again,
whatever the header claims: an end before the start, inside the batch, inside the records behind
it, or beyond the log.
"""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.producer.message_accumulator import BatchBuilder

from tests.fuzzing.damage import rewrite
from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

CLAIMS = (-(2**31), -1, 0, 3, 6, 9, 60_000, 2**31 - 1)
"""``lastOffsetDelta`` by partition; 4 would be true."""

_LAST_OFFSET_AT = 23


async def test_a_header_that_lies_about_its_end_costs_nobody_else(
    kafka_server: KafkaServer, tmp_path: Path
) -> None:
    partitions = 2 * len(CLAIMS)
    async with Kafka(kafka_server.bootstrap) as kafka:
        source, output, dead = (kafka.unique(name) for name in ("logs", "alerts", "dead"))
        group = kafka.unique("group")
        for topic, count in ((source, partitions), (output, 1), (dead, 1)):
            await kafka.create_topic(topic, count)
        # in every second partition nothing follows the damaged batch until it has been read
        behind = [0 if partition % 2 else 5 for partition in range(partitions)]
        for partition, count in enumerate(behind):
            await _write(kafka_server.bootstrap, source, partition, [3, 5, *[1] * count])
            log = kafka_server.data_directory / f"{source}-{partition}"
            rewrite(log, {3: _claiming(CLAIMS[partition // 2])})
        config = log_pipeline(source=source, output=output, dead_letter=dead, group=group)

        async with ServiceProcess(kafka_server.bootstrap, config, tmp_path) as service:
            await service.wait_logged(
                "stored batch cannot be decoded", count=partitions, timeout_s=90
            )
            for partition, count in enumerate(behind):
                if not count:
                    await _write(kafka_server.bootstrap, source, partition, [5])
            async with asyncio.timeout(90):
                while set((await kafka.committed(group, source)).values()) != {13}:
                    await asyncio.sleep(0.1)
            exit_code = await service.terminate()
            replaced = service.events("kafka client failed")

        alerts = await kafka.consume(output)
        letters = await kafka.consume(dead)

    places = sorted(orjson.loads(alert.value or b"")["message"] for alert in alerts)
    good = [*range(3), *range(8, 13)]
    assert places == sorted(f"{p}/{n}" for p in range(partitions) for n in good)
    codes = {
        (letter.header("headrace-error"), letter.header("headrace-origin")) for letter in letters
    }
    assert codes == {(b"batch", b"%s/%d/3" % (source.encode(), p)) for p in range(partitions)}
    assert len(letters) == partitions
    assert (exit_code, replaced) == (0, [])


def _claiming(last_offset_delta: int) -> Callable[[bytearray], None]:
    def change(stored: bytearray) -> None:
        struct.pack_into(">i", stored, _LAST_OFFSET_AT, last_offset_delta)

    return change


async def _write(bootstrap: str, topic: str, partition: int, batches: list[int]) -> None:
    """Write batches of so many records; each record says where it lies."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await producer.start()
    try:
        start = 8 if batches == [5] else 0
        for count in batches:
            builder = BatchBuilder(1 << 20, 0)
            for number in range(start, start + count):
                event = {"level": "ERROR", "message": f"{partition}/{number}"}
                builder.append(timestamp=None, key=b"key", value=orjson.dumps(event))
            start += count
            await (await producer.send_batch(builder, topic, partition=partition))
    finally:
        await producer.stop()

"""Durable state on a real broker: killed in the middle of windows, and every figure is right."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from service.consumers.kafka_changelog import KafkaChangelogs
from service.errors import BrokerUnavailableError
from service.state.restore import Chunk
from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, user_environ
from tests.windowed import (
    PARTITIONS,
    START_MS,
    by_window,
    closing,
    committed,
    config,
    figures,
    make_topics,
    values,
    wrong,
)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


async def test_kills_in_the_middle_of_windows_change_no_figure(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await make_topics(kafka)
    events = [*values(30_000), *closing(30_000)]
    await kafka.produce(topics["source"], events)
    expected = by_window(events[:-60])

    async with ServiceProcess(kafka.bootstrap, config(topics), tmp_path) as service:
        for life in range(3):
            if life:
                await service.start()
            await service.wait_logged("partition ready", count=PARTITIONS * (life + 1))
            await asyncio.sleep(0.4)
            await service.kill()
        await service.start()
        await service.wait_logged("partition ready", count=PARTITIONS * 4)
        await committed(kafka, topics, len(events))
        restored = sum(entry["records"] for entry in service.events("state restored"))
        assert await service.terminate() == 0

    told = await figures(kafka, topics["output"])
    assert restored > 0
    assert len(told) == len(expected)
    assert [f for f in told if wrong(f, expected[f["key"], f["start"]])] == []


async def test_the_state_commands_show_export_and_reset_what_the_changelog_holds(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await make_topics(kafka)
    await kafka.produce(
        topics["source"],
        [(b"key-%d" % n, orjson.dumps({"t": START_MS, "value": 1.0})) for n in range(20)],
    )
    async with ServiceProcess(kafka.bootstrap, config(topics), tmp_path) as service:
        await committed(kafka, topics, 20)
        code, said = await _state(kafka, tmp_path, "reset", "--yes")
        assert (code, "has members" in said) == (75, True)
        assert await service.terminate() == 0

    _, shown = await _state(kafka, tmp_path, "show", "--state", "windows")
    assert shown.startswith("windows: 20 keys in ")
    _, exported = await _state(kafka, tmp_path, "export", "--state", "windows")
    assert len(exported.splitlines()) == 20
    code, _ = await _state(kafka, tmp_path, "reset", "--yes")
    assert code == 0
    _, shown = await _state(kafka, tmp_path, "show", "--state", "windows")
    assert shown.startswith("windows: 0 keys in ")


async def _state(kafka: Kafka, directory: Path, action: str, *more: str) -> tuple[int, str]:
    """Exit code and output of one `headrace state`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "state", action, "logs", "alerts", *more),
        *("--config", str(directory / "service.yaml")),
        env={**user_environ(), "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


async def test_a_changelog_that_lacks_the_partition_is_named_with_it(kafka: Kafka) -> None:
    topic = await kafka.create_topic(kafka.unique("changelog"), partitions=1)
    changelogs = KafkaChangelogs(lambda: {"bootstrap_servers": kafka.bootstrap})

    for name, number, problem in (
        (topic, 1, f"{topic}/1: no such partition, the topic has 1"),
        (f"{topic}-other", 0, f"{topic}-other: no such topic, or none that may be described"),
    ):
        with pytest.raises(BrokerUnavailableError, match=f"^{problem}$"):
            await _opened(changelogs, name, number)


async def _opened(changelogs: KafkaChangelogs, topic: str, partition: int) -> None:
    async with changelogs.read(topic, partition, 0):
        pass


async def test_what_is_committed_behind_an_open_transaction_of_another_input_is_restored(
    kafka: Kafka,
) -> None:
    """A changelog serves several input topics, and the owner of one may have died in the middle."""
    topic = await kafka.create_topic(kafka.unique("changelog"), partitions=1)
    changelogs = KafkaChangelogs(lambda: {"bootstrap_servers": kafka.bootstrap})
    async with _transactional(kafka) as dead, _transactional(kafka) as owner:
        await dead.begin_transaction()
        await dead.send_and_wait(topic, key=b"other/a", value=b"1", partition=0)
        async with owner.transaction():
            await owner.send_and_wait(topic, key=b"input/a", value=b"2", partition=0)

        async with changelogs.read(topic, 0, 0) as chunks, asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_keys(chunks))
            await asyncio.sleep(0.5)  # longer than a read of what there is takes
            waits = not reading.done()
            await dead.abort_transaction()

    assert waits
    assert reading.result() == [b"input/a"]


def _transactional(kafka: Kafka) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap, transactional_id=kafka.unique("transactional")
    )


async def _keys(chunks: AsyncIterator[Chunk]) -> list[bytes | None]:
    return [record.key async for chunk in chunks for record in chunk.records]

"""Stalls of a running service, each injected, each named by ``/status`` within ten seconds.

What a person who is paged reads: which partition, which record, which handler, and why.
"""

import asyncio
import signal
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.kafka.client import Kafka
from tests.kafka.server import KafkaServer
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

NAMED_WITHIN_S = 10.0

_HANDLERS = """
import asyncio
import time

from service import Event, TransientError, handler


@handler("stalling")
async def stalling(event: Event) -> None:
    match event.data["message"]:
        case "hang":
            await asyncio.sleep(600)
        case "fail":
            raise TransientError("not now")
        case "block":
            time.sleep(14)  # what must not be done in a coroutine
        case "work":
            await asyncio.sleep(0.5)
"""

Document = Mapping[str, Any]


def _record(message: str, key: bytes = b"user-7") -> tuple[bytes, bytes]:
    return key, orjson.dumps({"level": "ERROR", "message": message})


async def _config(
    kafka: Kafka,
    directory: Path,
    *,
    partitions: int = 1,
    handler: Mapping[str, Any] | None = None,
    out_of_range: str = "earliest",
) -> dict[str, Any]:
    """A log pipeline on topics of its own, with a handler that stalls when it is told to."""
    source = await kafka.create_topic(kafka.unique("in"), partitions)
    output = await kafka.create_topic(kafka.unique("out"), 1)
    dead = await kafka.create_topic(kafka.unique("dead"), 1)
    (directory / "stall_handlers.py").write_text(textwrap.dedent(_HANDLERS))
    config = log_pipeline(
        source=source,
        output=output,
        dead_letter=dead,
        group=kafka.unique("group"),
        handler={"use": "stall_handlers:stalling", "timeout_s": 300, **(handler or {})},
    )
    config["pipelines"]["logs"]["sources"]["kafka"]["out_of_range"] = out_of_range
    return config


@asynccontextmanager
async def _service(
    kafka: Kafka, directory: Path, *, committed: int | None = None, **options: Any
) -> AsyncIterator[tuple[ServiceProcess, str]]:
    """A service that reads its partition, and its input topic."""
    config = await _config(kafka, directory, **options)
    source = config["pipelines"]["logs"]["sources"]["kafka"]
    (topic,) = source["topics"]
    if committed is not None:
        await _commit(kafka, source["group_id"], topic, committed)
    async with ServiceProcess(kafka.bootstrap, config, directory) as service:
        await service.wait_logged("partition ready")
        yield service, topic


async def _commit(kafka: Kafka, group: str, topic: str, offset: int) -> None:
    # it would commit its own position too, in the end, if the coordinator was slow to begin
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap, group_id=group, enable_auto_commit=False
    )
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.commit({TopicPartition(topic, 0): offset})
    finally:
        await consumer.stop()


async def _status_when(
    service: ServiceProcess, holds: Callable[[Document], bool], within_s: float = NAMED_WITHIN_S
) -> Document:
    """The first ``/status`` for which ``holds`` is true."""
    status: Document = {}
    try:
        async with asyncio.timeout(within_s):
            while True:
                status = await service.status()
                if holds(status):
                    return status
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"not named within {within_s} s: {status}") from None


def _blocking(status: Document) -> list[dict[str, Any]]:
    """What blocks the partitions of the one pipeline, where something does."""
    partitions = status["pipelines"]["logs"]["partitions"]
    return [each["blocking"] for each in partitions if each["blocking"] is not None]


def _blocked(status: Document) -> bool:
    return bool(_blocking(status))


async def test_a_handler_that_hangs(kafka: Kafka, tmp_path: Path) -> None:
    async with _service(kafka, tmp_path) as (service, source):
        await kafka.produce(source, [_record("fine"), _record("hang"), _record("fine")])

        status = await _status_when(service, _blocked)

        assert _blocking(status) == [
            {
                "cause": "slow_handler",
                "offset": 1,
                "key": "user-7",
                "handler": "alerts",
                "attempts": 1,
            }
        ]
        assert (await service.get("/livez"))[0] == 200
        assert (await service.get("/readyz"))[0] == 200


async def test_a_record_that_waits_for_its_next_attempt(kafka: Kafka, tmp_path: Path) -> None:
    retry = {"retry": {"attempts": 5, "initial_s": 60, "max_s": 60, "jitter": 0}}
    async with _service(kafka, tmp_path, handler=retry) as (service, source):
        await kafka.produce(source, [_record("fail")])

        status = await _status_when(service, _blocked)

        assert _blocking(status) == [
            {"cause": "retry", "offset": 0, "key": "user-7", "handler": "alerts", "attempts": 1}
        ]


async def test_a_record_that_fails_again_and_again(kafka: Kafka, tmp_path: Path) -> None:
    retry = {"retry": {"attempts": 1000, "initial_s": 0.2, "max_s": 0.2, "jitter": 0}}
    async with _service(kafka, tmp_path, handler=retry) as (service, source):
        await kafka.produce(source, [_record("fail")])

        status = await _status_when(service, _blocked)

        (blocking,) = _blocking(status)
        assert (blocking["cause"], blocking["offset"]) == ("retry", 0)
        assert blocking["attempts"] > 5


async def test_a_coroutine_that_blocks_the_loop(kafka: Kafka, tmp_path: Path) -> None:
    async with _service(kafka, tmp_path) as (service, source):
        await kafka.produce(source, [_record("block")])

        named = await _status_when(service, lambda status: status["loop"]["blocked_in"] is not None)
        stale = await _status_when(service, lambda status: bool(status["stale"]), within_s=14)
        live, body = await service.get("/livez")

        assert "stall_handlers.py" in named["loop"]["blocked_in"]
        assert stale["live"] is False
        assert live == 503
        assert body.startswith(b"stale: the event loop has not turned for ")
        await _status_when(service, lambda status: bool(status["live"]), within_s=14)
    (entry,) = service.events("event loop blocked")
    assert "time.sleep(14)" in entry["stack"]


async def test_slots_that_are_all_taken(kafka: Kafka, tmp_path: Path) -> None:
    one_at_a_time = {"concurrency": 1}
    async with _service(kafka, tmp_path, handler=one_at_a_time) as (service, source):
        await kafka.produce(source, [_record("work", b"%d" % number) for number in range(200)])

        status = await _status_when(service, _blocked, within_s=NAMED_WITHIN_S + 2)

        (blocking,) = _blocking(status)
        assert blocking["cause"] == "backpressure"
        assert blocking["offset"] > 5


async def test_outputs_that_nobody_acknowledges(kafka: Kafka, tmp_path: Path) -> None:
    config = await _config(kafka, tmp_path)
    logs = config["pipelines"]["logs"]
    logs["handlers"]["alerts"]["use"] = "log_alerts"
    (source,) = logs["sources"]["kafka"]["topics"]
    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await service.wait_logged("partition ready")
        await kafka.delete_topic(logs["handlers"]["alerts"]["output"])
        await kafka.produce(source, [_record("out")])

        status = await _status_when(service, _blocked)

        (blocking,) = _blocking(status)
        assert (blocking["cause"], blocking["offset"]) == ("broker", 0)


async def test_a_broker_that_hangs(kafka_server: KafkaServer, tmp_path: Path) -> None:
    async with (
        Kafka(kafka_server.bootstrap) as kafka,
        _service(kafka, tmp_path) as (service, source),
    ):
        await kafka.produce(source, [_record("fine")])
        await asyncio.to_thread(kafka_server.pause)
        try:
            status = await _status_when(service, _blocked)
            live, _ = await service.get("/livez")
        finally:
            await asyncio.to_thread(kafka_server.resume)

        assert {each["cause"] for each in _blocking(status)} == {"broker"}
        assert live == 200
        await _status_when(service, lambda status: not _blocked(status), within_s=30)


async def test_a_partition_that_is_halted(kafka: Kafka, tmp_path: Path) -> None:
    async with _service(kafka, tmp_path, out_of_range="halt", committed=1000) as (service, _):
        status = await _status_when(service, _blocked)

        (blocking,) = _blocking(status)
        assert blocking["cause"] == "paused"
        assert status["pipelines"]["logs"]["partitions"][0]["paused"] is True
    (entry,) = service.events("offset out of range")
    assert (entry["position"], entry["policy"]) == (1000, "halt")


async def test_a_rebalance_that_does_not_end(kafka: Kafka, tmp_path: Path) -> None:
    config = await _config(kafka, tmp_path, partitions=3)
    first, second, third = (
        ServiceProcess(kafka.bootstrap, config, tmp_path, name=name)
        for name in ("first", "second", "third")
    )
    async with first:
        await first.wait_assigned()
        async with second:
            await first.wait_assigned(count=2)
            second.signal(signal.SIGSTOP)  # still a member, and answers nobody
            async with third:
                await first.wait_logged("partitions revoked", count=2)

                status = await _status_when(first, _blocked)

    assert {each["cause"] for each in _blocking(status)} == {"rebalance"}

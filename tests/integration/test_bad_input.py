"""Bad input that needs a process, or a topic, of its own, and so is not in the fuzz run."""

import asyncio
from hashlib import sha256
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RECORDS = 50
DEADLY = 20
MOST_DEATHS = 6
NO_TIMESTAMP = -1
YEAR_9999_MS = 253_402_300_799_000
ANY_TIME = 2**63 - 1


async def _topics(kafka: Kafka, **dead_letter: int) -> dict[str, str]:
    topics = {name: kafka.unique(name) for name in ("source", "output", "dead_letter")}
    for name, topic in topics.items():
        await kafka.create_topic(topic, 1, **(dead_letter if name == "dead_letter" else {}))
    return {**topics, "group": kafka.unique("group")}


async def test_a_record_that_kills_the_process_is_dead_lettered_and_no_other_is(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka)
    events = [
        (b"key-%d" % (n % 5), orjson.dumps({"n": n, "do": "die" if n == DEADLY else "echo"}))
        for n in range(RECORDS)
    ]
    await kafka.produce(topics["source"], events)
    config = log_pipeline(
        **topics,
        pipeline={"normalizer": "json"},
        handler={"use": "tests.fuzzing.handlers:deadly"},
        # so long does each of the next ones wait for the dead one's partition
        kafka={"consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 2_000}},
    )
    service = ServiceProcess(kafka.bootstrap, config, tmp_path)

    deaths = 0
    try:
        while not await _finishes(service, kafka, topics):
            deaths += 1
            assert deaths <= MOST_DEATHS, service.log[-4000:]
        exit_code = await service.terminate()
    finally:
        await service.kill()

    outputs = await kafka.consume(topics["output"])
    letters = await kafka.consume(topics["dead_letter"])
    assert {orjson.loads(output.value or b"")["n"] for output in outputs} == (
        set(range(RECORDS)) - {DEADLY}
    )
    assert [letter.header("headrace-error") for letter in letters] == [b"poison"]
    assert letters[0].header("headrace-origin") == f"{topics['source']}/0/{DEADLY}".encode()
    assert letters[0].value == events[DEADLY][1]
    assert deaths > 0
    assert exit_code == 0


async def _finishes(service: ServiceProcess, kafka: Kafka, topics: dict[str, str]) -> bool:
    """Start it; whether it commits everything, rather than dying."""
    await service.start()
    async with asyncio.timeout(120):
        while not service.ended:
            committed = await kafka.committed(topics["group"], topics["source"])
            if committed.get(0) == RECORDS:
                return True
            await asyncio.sleep(0.1)
    return False


async def test_an_unknown_version_and_a_letter_too_large_for_its_topic_stop_nothing(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka, max_message_bytes=8_192)
    envelope = {"specversion": "1.0", "id": "1", "source": "/t", "type": "t"}
    good = orjson.dumps({**envelope, "data": {"n": 1}})
    newer = orjson.dumps({**envelope, "specversion": "2.0"})
    large = b"{" + b"x" * 100_000
    structured = [("content-type", b"application/cloudevents+json")]
    await kafka.produce(topics["source"], [(b"k", v, structured) for v in (newer, large, good)])
    config = log_pipeline(
        **topics,
        pipeline={"normalizer": "cloudevents"},
        handler={"use": "tests.fuzzing.handlers:deadly"},
    )

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        outputs = await kafka.consume(topics["output"], 1, timeout_s=90)
        letters = await kafka.consume(topics["dead_letter"], 2, timeout_s=90)
        exit_code = await service.terminate()

    assert [orjson.loads(output.value or b"") for output in outputs] == [{"n": 1}]
    assert [letter.header("headrace-error") for letter in letters] == [b"version", b"decode"]
    assert letters[0].value == newer
    cut = letters[1].value or b""
    assert large.startswith(cut)
    assert len(cut) < 8_192
    assert letters[1].header("headrace-value-bytes") == b"%d" % len(large)
    assert letters[1].header("headrace-value-sha256") == sha256(large).hexdigest().encode()
    assert exit_code == 0


async def test_timestamps_that_nobody_can_believe_change_neither_order_nor_results(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka)
    await kafka.delete_topic(topics["source"])
    topics["source"] = await kafka.create_topic(
        kafka.unique("source"),
        message_timestamp_after_max_ms=ANY_TIME,
        message_timestamp_before_max_ms=ANY_TIME,
    )
    stamps = [NO_TIMESTAMP, YEAR_9999_MS, 0, 1_790_000_000_000, 1_000, NO_TIMESTAMP]
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for number, stamp in enumerate(stamps):
            await producer.send_and_wait(
                topics["source"], orjson.dumps({"n": number}), key=b"k", timestamp_ms=stamp
            )
    config = log_pipeline(
        **topics,
        pipeline={"normalizer": "json"},
        handler={"use": "tests.fuzzing.handlers:deadly"},
    )

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        outputs = await kafka.consume(topics["output"], len(stamps), timeout_s=90)
        async with asyncio.timeout(30):
            while not (seen := (await service.status())["pipelines"]["logs"]["partitions"]):
                await asyncio.sleep(0.1)
        exit_code = await service.terminate()

    assert [orjson.loads(output.value or b"")["n"] for output in outputs] == [*range(len(stamps))]
    assert await kafka.consume(topics["dead_letter"]) == []
    assert all(each["lag_s"] is None or each["lag_s"] >= 0 for each in seen)
    assert exit_code == 0


async def test_a_dead_letter_topic_that_is_gone_holds_back_the_commit_until_it_is_there_again(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka)
    config = log_pipeline(
        **topics,
        pipeline={"normalizer": "json"},
        handler={"use": "tests.fuzzing.handlers:deadly"},
    )
    first, *good = [(b"k", orjson.dumps({"n": n})) for n in range(4)]

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await kafka.produce(topics["source"], [first])
        await kafka.consume(topics["output"], 1, timeout_s=60)
        await kafka.delete_topic(topics["dead_letter"])
        await kafka.produce(topics["source"], [(b"bad", b"{"), *good])
        outputs = await kafka.consume(topics["output"], 4, timeout_s=90)
        await asyncio.sleep(2)
        held_back = (await kafka.committed(topics["group"], topics["source"])).get(0, 0)

        await kafka.create_topic(topics["dead_letter"], 1)
        letters = await kafka.consume(topics["dead_letter"], 1, timeout_s=90)
        async with asyncio.timeout(60):
            while (await kafka.committed(topics["group"], topics["source"])).get(0) != 5:
                await asyncio.sleep(0.1)
        exit_code = await service.terminate()

    assert [orjson.loads(output.value or b"")["n"] for output in outputs] == [0, 1, 2, 3]
    assert held_back == 1
    assert [letter.header("headrace-error") for letter in letters] == [b"decode"]
    assert exit_code == 0

"""The main job as a process on a real broker: logs in, alerts out, nothing lost or repeated."""

import asyncio
import signal
from collections import Counter, defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

import orjson
import pytest

from tests.kafka.client import Kafka, Record
from tests.service_process import ServiceProcess, log_pipeline, log_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

THIRTEEN_LINES = """\
INFO: User 'alice' logged in.
DEBUG: Cache hit for item 123.
WARN: Database connection pool nearly exhausted.
INFO: Processed batch 42.
ERROR: Failed to write to disk: permission denied.
INFO: User 'bob' logged out.
DEBUG: Executing expensive query.
WARN: API rate limit approaching for external service.
INFO: Report generated successfully.
ERROR: Critical system fault detected in module X.
INFO: Heartbeat received from worker node.
DEBUG: Background task completed in 5ms.
ERROR: Unhandled exception in UI renderer.
"""


async def _committed(kafka: Kafka, group: str, topic: str, total: int) -> None:
    """Wait until the group has committed ``total`` records."""
    async with asyncio.timeout(60):
        while sum((await kafka.committed(group, topic)).values()) < total:
            await asyncio.sleep(0.1)


def _by_key(records: list[Record]) -> dict[bytes | None, list[int]]:
    sequences: dict[bytes | None, list[int]] = defaultdict(list)
    for record in records:
        assert record.value is not None
        sequences[record.key].append(int(orjson.loads(record.value)["message"]))
    return sequences


async def test_the_thirteen_lines_give_five_alerts_in_order(kafka: Kafka, tmp_path: Path) -> None:
    topics = await log_topics(kafka)
    await kafka.produce(
        topics["source"], [(b"app", line.encode()) for line in THIRTEEN_LINES.splitlines()]
    )

    async with ServiceProcess(kafka.bootstrap, log_pipeline(**topics), tmp_path) as service:
        alerts = await kafka.consume(topics["output"], 5)
        await _committed(kafka, topics["group"], topics["source"], 13)
        exit_code = await service.terminate()

    assert [orjson.loads(alert.value or b"")["alert"] for alert in alerts] == [
        "[ALERT - WARN] Database connection pool nearly exhausted.",
        "[ALERT - ERROR] Failed to write to disk: permission denied.",
        "[ALERT - WARN] API rate limit approaching for external service.",
        "[ALERT - ERROR] Critical system fault detected in module X.",
        "[ALERT - ERROR] Unhandled exception in UI renderer.",
    ]
    assert {alert.key for alert in alerts} == {b"app"}
    assert exit_code == 0


async def test_sigterm_in_the_middle_loses_nothing_and_repeats_nothing(
    kafka: Kafka, tmp_path: Path, ending: AsyncExitStack
) -> None:
    topics = await log_topics(kafka)
    total, keys = 100_000, 500
    events = [
        (
            b"key-%d" % (number % keys),
            orjson.dumps({"level": "ERROR" if number % 2 else "INFO", "message": str(number)}),
        )
        for number in range(total)
    ]
    service = ServiceProcess(kafka.bootstrap, log_pipeline(**topics), tmp_path)

    ending.push_async_callback(service.kill)
    producing = asyncio.get_running_loop().create_task(kafka.produce(topics["source"], events))
    await service.start()
    while sum((await kafka.end_offsets(topics["output"])).values()) < 5_000:
        await asyncio.sleep(0.01)
    first_exit = await service.terminate(10.0)
    done_at_first_exit = sum((await kafka.end_offsets(topics["output"])).values())
    await producing
    await service.start()
    await _committed(kafka, topics["group"], topics["source"], total)
    second_exit = await service.terminate(10.0)

    alerts = await kafka.consume(topics["output"])
    ids = Counter(alert.header("headrace-id") for alert in alerts)
    assert (first_exit, second_exit) == (0, 0)
    assert 0 < done_at_first_exit < total // 2
    assert len(alerts) == total // 2
    assert max(ids.values()) == 1
    for key, sequence in _by_key(alerts).items():
        assert sequence == sorted(sequence), key
    assert await kafka.consume(topics["dead_letter"]) == []


async def test_what_does_not_decode_is_dead_lettered_unchanged_and_the_partition_goes_on(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await log_topics(kafka, partitions=1)
    good = orjson.dumps({"level": "ERROR", "message": "1"})
    bad = {
        b"\xff\xfe": b"decode",
        b'{"level": "ERROR"': b"decode",
        b'\xef\xbb\xbf{"level":"INFO","message":""}': b"decode",
        b'{"level": NaN}': b"decode",
        b'{"level":"INFO","message":"","n":18446744073709551616}': b"decode",
        b'{"level":"INFO","message":"","n":' + b"[" * 65 + b"]" * 65 + b"}": b"decode",
        b"[1]": b"schema",
        b'{"level": 7, "message": "m"}': b"schema",
        b'{"level":"INFO","message":"%b"}' % (b"x" * 300_000): b"too_large",
    }
    records = [(b"key", value, [("trace", b"abc")]) for value in bad]
    await kafka.produce(topics["source"], [*records, (b"key", good), (b"key", None)])

    async with ServiceProcess(kafka.bootstrap, log_pipeline(**topics), tmp_path) as service:
        await _committed(kafka, topics["group"], topics["source"], len(bad) + 2)
        exit_code = await service.terminate()

    letters = await kafka.consume(topics["dead_letter"])
    assert {letter.value: letter.header("headrace-error") for letter in letters} == bad
    assert len(letters) == len(bad)
    for position, letter in enumerate(letters):
        assert letter.key == b"key"
        assert letter.header("trace") == b"abc"
        assert letter.header("headrace-origin") == f"{topics['source']}/0/{position}".encode()
        assert letter.header("headrace-stage") == b"normalize"
    assert len(await kafka.consume(topics["output"])) == 1
    assert exit_code == 0


async def test_a_second_signal_stops_at_once(kafka: Kafka, tmp_path: Path) -> None:
    topics = await log_topics(kafka)
    (tmp_path / "slow_handlers.py").write_text(
        "import asyncio\nasync def never(event):\n    await asyncio.sleep(3600)\n"
    )
    config = log_pipeline(
        **topics, handler={"use": "slow_handlers:never", "timeout_s": 3600}, drain_timeout_s=30
    )
    await kafka.produce(topics["source"], [(b"k", b"ERROR: stuck")])

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await service.wait_assigned()
        await asyncio.sleep(1)
        service.signal(signal.SIGTERM)
        await service.wait_logged("draining")
        service.signal(signal.SIGTERM)
        exit_code = await service.wait(5.0)

    assert exit_code == 75

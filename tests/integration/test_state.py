"""Durable state on a real broker: killed in the middle of windows, and every figure is right."""

import asyncio
import os
import random
import statistics
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]

PARTITIONS = 3
SIZE_MS = 10_000
_START_MS = 1_700_000_000_000


def _config(topics: dict[str, str]) -> dict[str, Any]:
    return log_pipeline(
        **topics,
        pipeline={"delivery": "exactly_once", "normalizer": "json"},
        handler={
            "use": "rolling_metrics",
            "options": {"time": "t", "size_s": SIZE_MS / 1000, "lateness_s": 2, "idle_s": 1000},
        },
        kafka={"consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000}},
    )


async def _topics(kafka: Kafka) -> dict[str, str]:
    topics = {
        "source": kafka.unique("values"),
        "output": kafka.unique("figures"),
        "dead_letter": kafka.unique("dead"),
    }
    for topic in topics.values():
        await kafka.create_topic(topic, PARTITIONS)
    topics["group"] = kafka.unique("group")
    for state in ("windows", "time"):
        name = f"{topics['group']}-logs-alerts-{state}-changelog"
        await kafka.create_topic(name, PARTITIONS, **{"cleanup.policy": "compact"})
    return topics


def _events(count: int) -> list[tuple[bytes, bytes]]:
    """Values of 50 keys over some minutes, up to 1.5 s out of order; the last ones close all."""
    rng = random.Random(7)
    events = [
        (
            b"key-%d" % rng.randrange(50),
            orjson.dumps(
                {"t": _START_MS + n * 10 - rng.randrange(1_500), "value": rng.gauss(9, 3)}
            ),
        )
        for n in range(count)
    ]
    last = orjson.dumps({"t": _START_MS + count * 10 + 60_000, "value": 0.0})
    return [*events, *((b"closing-%d" % n, last) for n in range(60))]


async def test_kills_in_the_middle_of_windows_change_no_figure(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka)
    events = _events(30_000)
    await kafka.produce(topics["source"], events)
    expected: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for key, value in events[:-60]:
        data = orjson.loads(value)
        expected[key.decode(), data["t"] // SIZE_MS * SIZE_MS].append(data["value"])

    restored = 0
    async with ServiceProcess(kafka.bootstrap, _config(topics), tmp_path) as service:
        for life in range(3):
            if life:
                await service.start()
            await service.wait_logged("partition ready", count=PARTITIONS * (life + 1))
            await asyncio.sleep(0.4)
            await service.kill()
        await service.start()
        await service.wait_logged("partition ready", count=PARTITIONS * 4)
        async with asyncio.timeout(120):
            while sum((await kafka.committed(topics["group"], topics["source"])).values()) < len(
                events
            ):
                await asyncio.sleep(0.2)
        restored = sum(entry["records"] for entry in service.events("state restored"))
        assert await service.terminate() == 0

    figures = [
        orjson.loads(record.value or b"")
        for record in await kafka.consume(topics["output"], read_committed=True)
    ]
    figures = [figure for figure in figures if not figure["key"].startswith("closing")]
    assert restored > 0
    assert len(figures) == len(expected)
    for figure in figures:
        values = expected[figure["key"], figure["start"]]
        assert figure["count"] == len(values)
        assert figure["mean"] == pytest.approx(statistics.fmean(values), rel=1e-9)
        assert figure["max"] == max(values)
        assert abs(figure["p50"] - sorted(values)[(len(values) - 1) // 2]) <= 0.0101 * abs(
            figure["p50"]
        )


async def test_the_state_commands_show_export_and_reset_what_the_changelog_holds(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await _topics(kafka)
    await kafka.produce(
        topics["source"],
        [(b"key-%d" % n, orjson.dumps({"t": _START_MS, "value": 1.0})) for n in range(20)],
    )
    async with ServiceProcess(kafka.bootstrap, _config(topics), tmp_path) as service:
        async with asyncio.timeout(60):
            while sum((await kafka.committed(topics["group"], topics["source"])).values()) < 20:
                await asyncio.sleep(0.2)
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
    environment = {name: v for name, v in os.environ.items() if not name.startswith("HEADRACE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "service", "state", action, "logs", "alerts", *more),
        *("--config", str(directory / "service.yaml")),
        env={**environment, "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()

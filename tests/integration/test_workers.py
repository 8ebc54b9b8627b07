"""``workers: 2``: two members under one parent, one admin port, one drain."""

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline, log_topics

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


async def _until_shared(service: ServiceProcess) -> dict[str, Any]:
    """Wait until both workers have partitions, and each partition one worker.

    Until the rebalance is over, a worker shows those that it had before.
    """
    async with asyncio.timeout(180):
        while True:
            status = await service.status()
            partitions = status["pipelines"].get("logs", {}).get("partitions", [])
            workers = {partition["worker"] for partition in partitions}
            numbers = [partition["partition"] for partition in partitions]
            if workers == {0, 1} and len(numbers) == len(set(numbers)):
                return status
            await asyncio.sleep(0.2)


async def test_two_workers_share_the_partitions_and_drain_together(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await log_topics(kafka)
    events = [
        (b"k%d" % (n % 50), orjson.dumps({"level": "ERROR", "message": str(n)}))
        for n in range(4_000)
    ]
    config = log_pipeline(**topics, workers=2)

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await service.wait_logged("worker started", count=2)
        status = await _until_shared(service)
        pages = [orjson.loads(page) for page in await service.pages("api/status")]
        await kafka.produce(topics["source"], events)
        alerts = await kafka.consume(topics["output"], len(events))
        ready = await service.get("/readyz")
        metrics = (await service.get("/metrics"))[1].decode()
        exit_code = await service.terminate(20.0)

    assert status["workers"] == 2
    assert [page["workers"] for page in pages] == [2, 2]
    assert [len(page["pipelines"]["logs"]["partitions"]) for page in pages] == [4, 4]
    assert len(status["pipelines"]["logs"]["partitions"]) == 4
    assert ready == (200, b"ok\n")
    assert 'worker="0"' in metrics
    assert 'worker="1"' in metrics
    assert len({alert.header("headrace-id") for alert in alerts}) == len(events)
    assert exit_code == 0


async def test_a_worker_that_dies_is_replaced(kafka: Kafka, tmp_path: Path) -> None:
    topics = await log_topics(kafka)
    settings = {"consumer": {"session_timeout_ms": 6_000, "heartbeat_interval_ms": 1_000}}
    config = log_pipeline(**topics, workers=2, kafka=settings)

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await service.wait_logged("worker started", count=2)
        await _until_shared(service)
        os.kill(int(service.events("worker started")[0]["pid"]), signal.SIGKILL)
        await service.wait_logged(
            "running", count=3, timeout_s=180.0
        )  # from there it hears signals
        await kafka.produce(topics["source"], [(b"k%d" % n, b"ERROR: x") for n in range(100)])
        alerts = await kafka.consume(topics["output"], 100)
        exit_code = await service.terminate(20.0)

    assert len(alerts) == 100
    assert exit_code == 0


FIRST_PROCESS = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Runs a command as the first process of its namespace, which a container's is."""

LEAVES_AN_ORPHAN = """
import subprocess, sys

# ends when the worker does, with which its input ends
subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
from service.handlers.log_alerts import LogAlerts
"""


def _children_of(parent: int) -> list[tuple[int, str]]:
    """Id and state of each child, oldest first."""
    found: list[tuple[int, str]] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            state, above = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:2]
            if int(above) == parent:
                found.append((int(stat.parent.name), state))
    return sorted(found)


@pytest.fixture
def _may_be_first() -> None:
    """Skips where no namespace of processes may be made, as in a container without the right."""
    try:
        subprocess.run([*FIRST_PROCESS, "true"], check=True, capture_output=True)  # noqa: S603 -- a constant
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no namespace of processes may be made here: {error}")


@pytest.mark.usefixtures("_may_be_first")
async def test_what_killed_workers_leave_behind_does_not_fill_the_container(
    tmp_path: Path,
) -> None:
    (tmp_path / "leaving.py").write_text(LEAVES_AN_ORPHAN)
    config = log_pipeline(
        source="in", output="out", dead_letter="dead", group="g", workers=2,
        handler={"use": "leaving:LogAlerts"},
    )  # fmt: skip

    async with ServiceProcess("127.0.0.1:9", config, tmp_path, within=FIRST_PROCESS) as service:
        await service.wait_logged("running", count=2)
        ((first, _),) = _children_of(service.pid)
        for killed in (1, 2):
            worker = next(pid for pid, state in _children_of(first) if state != "Z")
            os.kill(worker, signal.SIGKILL)
            await service.wait_logged("running", count=2 + killed)
        ended = [pid for pid, state in _children_of(first) if state == "Z"]
        os.kill(first, signal.SIGTERM)
        exit_code = await service.wait()

    assert len(ended) < killed
    assert exit_code == 0


async def test_workers_whose_parent_is_killed_drain_and_leave_the_partitions_to_others(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = await log_topics(kafka)
    config = log_pipeline(**topics, workers=2)
    events = [(b"k%d" % (n % 50), b"ERROR: %d" % n) for n in range(2_000)]

    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        await service.wait_logged("worker started", count=2)
        await _until_shared(service)
        await kafka.produce(topics["source"], events[:1_000])
        await service.kill()
        async with asyncio.timeout(180):
            while len(service.events("stopped")) < 2:
                await asyncio.sleep(0.05)
        await service.start()
        await service.wait_logged("running", count=4, timeout_s=180.0)
        await _until_shared(service)
        await kafka.produce(topics["source"], events[1_000:])
        alerts = await kafka.consume(topics["output"], len(events))
        exit_code = await service.terminate(20.0)

    assert [stopped["drained"] for stopped in service.events("stopped")[:2]] == [True, True]
    assert len({alert.header("headrace-id") for alert in alerts}) == len(alerts) == len(events)
    assert exit_code == 0


async def test_a_reload_that_comes_while_workers_start_reaches_them_when_they_are_up(
    tmp_path: Path,
) -> None:
    config = log_pipeline(source="in", output="out", dead_letter="dead", group="g", workers=2)

    async with ServiceProcess("127.0.0.1:9", config, tmp_path) as service:
        await service.wait_logged("worker started", count=2)
        service.signal(signal.SIGHUP)
        await service.wait_logged("configuration reloaded", count=2)
        died = service.events("worker died")

    assert died == []


async def test_a_signal_to_every_process_at_once_is_one_request_to_drain(tmp_path: Path) -> None:
    # as Ctrl-C in a terminal and `systemctl stop` send it, to the parent and to the workers
    config = log_pipeline(source="in", output="out", dead_letter="dead", group="g", workers=2)

    async with ServiceProcess("127.0.0.1:9", config, tmp_path) as service:
        await service.wait_logged("running", count=2)
        for started in service.events("worker started"):
            os.kill(int(started["pid"]), signal.SIGINT)
        service.signal(signal.SIGINT)
        exit_code = await service.wait()

    assert [stopped["drained"] for stopped in service.events("stopped")] == [True, True]
    assert exit_code == 0

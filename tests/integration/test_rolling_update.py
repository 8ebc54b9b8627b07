"""A rolling update of three replicas under load, as the chart's Deployment does it.

Processes stand for pods.  Order, waits and budgets are those of the chart's values: one pod more
before one less, `minReadySeconds`, `preStop`, SIGTERM, and SIGKILL when the grace period is over.
"""

import asyncio
import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from service.settings.model import STOP_BUDGET_S
from tests.kafka.client import Kafka
from tests.kafka.load import SteadyLoad
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

_VALUES: dict[str, Any] = yaml.safe_load(Path("helm/headrace/values.yaml").read_text())
_PRESTOP_S = float(_VALUES["preStopSleepSeconds"])
_MIN_READY_S = float(_VALUES["minReadySeconds"])
_GRACE_S = 25 + STOP_BUDGET_S + 5
_REPLICAS = 3
_PARTITIONS = 6
_RATE = 1000
_LARGEST_GAP_S = 5.0


async def _wait_ready(process: ServiceProcess) -> None:
    await process.wait_logged("admin port open")
    async with asyncio.timeout(60):
        while (await process.get("/readyz"))[0] != 200:
            await asyncio.sleep(0.1)


async def _end(process: ServiceProcess) -> int:
    """What happens to a pod that is deleted."""
    await asyncio.sleep(_PRESTOP_S)
    return await process.terminate(_GRACE_S)


async def test_a_rolling_update_under_load_loses_nothing_repeats_nothing_and_hardly_pauses(
    kafka: Kafka, tmp_path: Path
) -> None:
    source = await kafka.create_topic(kafka.unique("logs"), _PARTITIONS)
    output = await kafka.create_topic(
        kafka.unique("alerts"), 1, message_timestamp_type="LogAppendTime"
    )
    dead = await kafka.create_topic(kafka.unique("dead"), 1)
    group = kafka.unique("group")
    config = log_pipeline(
        source=source, output=output, dead_letter=dead, group=group, grace_period_s=_GRACE_S
    )
    names = itertools.count()
    load = SteadyLoad(kafka, source, _RATE)

    def pod() -> ServiceProcess:
        return ServiceProcess(kafka.bootstrap, config, tmp_path, name=f"pod-{next(names)}")

    old = [pod() for _ in range(_REPLICAS)]
    new: list[ServiceProcess] = []
    try:
        for process in old:
            await process.start()
            await _wait_ready(process)
        async with asyncio.TaskGroup() as tasks:
            loading = tasks.create_task(load.run())
            await asyncio.sleep(3)
            ending = []
            for leaving in old:
                new.append(pod())
                await new[-1].start()
                await _wait_ready(new[-1])
                await asyncio.sleep(_MIN_READY_S)
                ending.append(tasks.create_task(_end(leaving)))
            exit_codes = [await end for end in ending]
            await asyncio.sleep(3)
            load.stop()
            await loading
        alerts = await kafka.consume(output, load.sent, timeout_s=60)
        last_codes = [await process.terminate(_GRACE_S) for process in new]
        committed = sum((await kafka.committed(group, source)).values())
    finally:
        for process in [*old, *new]:
            await process.kill()

    ids = Counter(alert.header("headrace-id") for alert in alerts)
    numbers = {int(orjson.loads(alert.value or b"")["message"]) for alert in alerts}
    stamps = sorted(alert.timestamp_ms for alert in alerts)
    largest_gap_s = max(later - sooner for sooner, later in itertools.pairwise(stamps)) / 1000
    print(  # noqa: T201 -- the figures of record
        f"\nrolling update: {load.sent} records, {load.sent - len(numbers)} lost, "
        f"{len(alerts) - len(ids)} repeated, largest gap of the output {largest_gap_s:.2f} s"
    )
    assert exit_codes == last_codes == [0] * _REPLICAS
    assert numbers == set(range(load.sent))
    assert max(ids.values()) == 1
    assert len(alerts) == load.sent
    assert committed == load.sent
    assert await kafka.consume(dead) == []
    assert largest_gap_s <= _LARGEST_GAP_S


async def test_a_standby_that_gets_no_partition_is_ready(kafka: Kafka, tmp_path: Path) -> None:
    source = await kafka.create_topic(kafka.unique("logs"), 1)
    output = await kafka.create_topic(kafka.unique("alerts"), 1)
    dead = await kafka.create_topic(kafka.unique("dead"), 1)
    config = log_pipeline(
        source=source, output=output, dead_letter=dead, group=kafka.unique("group")
    )
    pods = [ServiceProcess(kafka.bootstrap, config, tmp_path, name=f"pod-{n}") for n in range(2)]
    try:
        for pod in pods:
            await pod.start()
            await _wait_ready(pod)
        partitions = [(await pod.status())["pipelines"]["logs"]["partitions"] for pod in pods]
    finally:
        for pod in pods:
            await pod.kill()

    assert sorted(map(len, partitions)) == [0, 1]

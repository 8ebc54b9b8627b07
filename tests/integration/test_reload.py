"""SIGHUP on a running service: what may change does, a mistake changes nothing."""

import signal
from pathlib import Path

import orjson
import pytest
import yaml

from tests.kafka.client import Kafka
from tests.service_process import ServiceProcess, log_pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]


def _log(level: str) -> tuple[None, bytes]:
    return None, orjson.dumps({"level": level, "message": level})


async def test_a_filter_changes_while_running_and_a_mistake_does_not(
    kafka: Kafka, tmp_path: Path
) -> None:
    source = await kafka.create_topic(kafka.unique("logs"), 1)
    output = await kafka.create_topic(kafka.unique("alerts"), 1)
    config = log_pipeline(
        source=source,
        output=output,
        dead_letter=await kafka.create_topic(kafka.unique("dead"), 1),
        group=kafka.unique("group"),
    )
    alerts = config["pipelines"]["logs"]["handlers"]["alerts"]
    async with ServiceProcess(kafka.bootstrap, config, tmp_path) as service:
        file = tmp_path / "service.yaml"
        await kafka.produce(source, [_log("WARN"), _log("ERROR")])
        await kafka.consume(output, 2)

        alerts["where"] = {"field": "level", "in": ["ERROR"]}
        file.write_text(yaml.safe_dump(config))
        service.signal(signal.SIGHUP)
        await service.wait_logged("configuration reloaded")
        await kafka.produce(source, [_log("WARN"), _log("ERROR")])
        await kafka.consume(output, 3)

        file.write_text("pipelines: {logs: {normalizer: nonsense}}")
        service.signal(signal.SIGHUP)
        await service.wait_logged("reload refused")
        await kafka.produce(source, [_log("WARN"), _log("ERROR")])
        found = await kafka.consume(output, 4)
        exit_code = await service.terminate()

    assert [orjson.loads(alert.value or b"")["level"] for alert in found] == [
        "WARN",
        "ERROR",
        "ERROR",
        "ERROR",
    ]
    assert exit_code == 0
    (reloaded,) = service.events("configuration reloaded")
    assert reloaded["changed"] == ["pipelines.logs.handlers.alerts.where.in"]


async def test_a_reload_that_is_asked_for_while_the_service_starts_is_done_later(
    tmp_path: Path,
) -> None:
    config = log_pipeline(source="in", output="out", dead_letter="dead", group="g")

    async with ServiceProcess("127.0.0.1:9", config, tmp_path) as service:
        await service.wait_hearing(signal.SIGTERM)
        service.signal(signal.SIGHUP)
        await service.wait_logged("configuration reloaded")

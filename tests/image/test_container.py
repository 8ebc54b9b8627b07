"""The worked example through the container, run as the chart's pod says."""

import os
import re
import socket
from pathlib import Path

import orjson
import pytest

from tests.chart.tools import ROOT, config_of, render
from tests.image.pod import Pod
from tests.kafka.client import Kafka
from tests.windowed import (
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

_LINES = b"""\
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
""".splitlines()

_ALERTS = [
    "[ALERT - WARN] Database connection pool nearly exhausted.",
    "[ALERT - ERROR] Failed to write to disk: permission denied.",
    "[ALERT - WARN] API rate limit approaching for external service.",
    "[ALERT - ERROR] Critical system fault detected in module X.",
    "[ALERT - ERROR] Unhandled exception in UI renderer.",
]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


async def test_the_pod_turns_thirteen_lines_into_five_alerts_and_exits_cleanly(
    kafka: Kafka, image: str, tmp_path: Path
) -> None:
    for topic in ("logs.raw", "logs.dead", "alerts"):
        await kafka.create_topic(topic, 1)
    admin, public = _free_ports(2)  # the host's network is shared with everything else here
    manifests = render(
        {
            "config.kafka.bootstrap_servers": [kafka.bootstrap],
            "config.admin": {"port": admin},
            "config.server": {"port": public},
        }
    )
    assert config_of(manifests).keys() == {"admin", "grace_period_s", "kafka", "server"}

    with Pod(manifests, image, tmp_path) as pod:
        try:
            pod.start()
            ready_s = pod.wait_for("readiness", timeout_s=30)
            pod.transcript.say(f"ready {ready_s:.2f} s after the container started")
            probes = {name: pod.probe(name) for name in ("startup", "liveness", "readiness")}
            pod.transcript.say(f"probes: {probes}")
            await kafka.produce("logs.raw", [(b"app", line) for line in _LINES])
            alerts = await kafka.consume("alerts", 5)
            for alert in alerts:
                pod.transcript.say(f"alerts/{alert.partition}/{alert.offset}: {alert.value!r}")
            pod.execute(*_health_check())
            exit_code, stopped_s = pod.terminate()
            pod.transcript.say(f"SIGTERM: exit code {exit_code} after {stopped_s:.2f} s")
            log = pod.log()
            pod.transcript.lines += log.splitlines()
        finally:
            _keep(pod)

    assert [orjson.loads(alert.value or b"")["alert"] for alert in alerts] == _ALERTS
    assert await kafka.consume("logs.dead") == []
    assert await kafka.committed("headrace-logs", "logs.raw") == {0: 13}
    assert probes == {"startup": 200, "liveness": 200, "readiness": 200}
    assert exit_code == 0
    assert '"drained":true' in log.replace(" ", "")
    # the figure of record is in the transcript: here, a busy machine must not fail the test
    assert ready_s < 15


async def test_the_pod_keeps_its_state_on_the_disk_that_the_chart_gives_it(
    kafka: Kafka, image: str, tmp_path: Path
) -> None:
    topics = await make_topics(kafka)
    events = [*values(2_000), *closing(2_000)]
    await kafka.produce(topics["source"], events)
    expected = by_window(events[:-60])
    admin, public = _free_ports(2)
    wanted = {
        **config(topics),
        "kafka": {"bootstrap_servers": [kafka.bootstrap]},
        "admin": {"port": admin},
        "server": {"port": public},
        "state": {"store": "rocksdb"},
    }
    manifests = render({f"config.{name}": value for name, value in wanted.items()})

    with Pod(manifests, image, tmp_path) as pod:
        pod.start()
        pod.wait_for("readiness", timeout_s=30)
        await committed(kafka, topics, len(events))
        found = pod.execute(
            "/usr/bin/python3", "-c", "import os; print(os.listdir('/var/lib/headrace'))"
        )
        told = await figures(kafka, topics["output"])
        exit_code, _ = pod.terminate()

    assert "headrace-state-" in found
    assert len(told) == len(expected)
    assert [f for f in told if wrong(f, expected[f["key"], f["start"]])] == []
    assert exit_code == 0


def _health_check() -> list[str]:
    """The Dockerfile's health check: the format that is built here does not carry it."""
    text = (ROOT / "Dockerfile").read_text()
    match = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert match is not None
    command: list[str] = orjson.loads(match[1])
    return command


def _keep(pod: Pod) -> None:
    target = os.environ.get("HEADRACE_TRANSCRIPT")
    if target:
        Path(target).write_text("\n".join(pod.transcript.lines) + "\n")

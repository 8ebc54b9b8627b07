"""The local stack, as far as it can be judged without a daemon."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import load_settings
from service.settings.model import STOP_BUDGET_S
from tests.chart.tools import ROOT, run

_STACK: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
_SERVICES: dict[str, Any] = _STACK["services"]


def _content(name: str) -> str:
    return str(_STACK["configs"][name]["content"])


def test_the_service_accepts_its_configuration(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text(_content("headrace"))

    settings = load_settings([file], {})

    advertised = _SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert f"INSIDE://{settings.kafka.bootstrap_servers[0]}" in advertised
    grace_s = float(_SERVICES["headrace"]["stop_grace_period"].removesuffix("s"))
    assert settings.grace_period_s == grace_s
    assert grace_s > settings.drain_timeout_s + STOP_BUDGET_S


def test_prometheus_accepts_its_configuration_and_scrapes_the_admin_port(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    file = tmp_path / "prometheus.yml"
    rules = str(ROOT / "helm/headrace/rules")
    file.write_text(_content("prometheus").replace("/etc/prometheus/rules", rules))

    done = run(promtool, "check", "config", file)

    assert done.returncode == 0, done.stdout + done.stderr
    assert '"headrace:8081"' in _content("prometheus")


def test_every_mounted_file_and_every_configuration_exists() -> None:
    for name, service in _SERVICES.items():
        for volume in service.get("volumes", []):
            assert (ROOT / volume.split(":")[0]).is_dir(), name
        for config in service.get("configs", []):
            assert config["source"] in _STACK["configs"], name
        for other in service.get("depends_on", []):
            assert other in _SERVICES, name


def test_what_waits_for_health_waits_for_something_that_has_a_check() -> None:
    for service in _SERVICES.values():
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else ():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in _SERVICES[other]


def test_the_grafana_dashboard_is_the_chart_s() -> None:
    home = _SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    mounted = _SERVICES["grafana"]["volumes"][0].split(":")

    assert home.startswith(mounted[1])
    assert (ROOT / mounted[0] / Path(home).name).is_file()


def test_ports_are_open_to_this_machine_only() -> None:
    ports = [port for service in _SERVICES.values() for port in service.get("ports", [])]

    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_the_service_runs_as_restricted_as_in_the_chart() -> None:
    for name in ("headrace", "topics"):
        service = _SERVICES[name]
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "65532:65532"
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_compose_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or run(docker, "compose", "version").returncode:
        pytest.skip("docker compose is not installed; the other tests read the file themselves")

    done = run(docker, "compose", "--file", ROOT / "compose.yaml", "config", "--quiet")

    assert done.returncode == 0, done.stderr

"""Alerts, their tests, the runbook and the dashboard speak of the same things."""

import re
from pathlib import Path
from typing import Any

import orjson
import yaml

from service.metrics import METRICS, Kind

_ROOT = Path(__file__).parents[3]
_RULES = yaml.safe_load((_ROOT / "helm/headrace/rules/headrace.yaml").read_text())
_RULE_TESTS = yaml.safe_load((_ROOT / "tests/rules/headrace_test.yaml").read_text())
_RUNBOOK = (_ROOT / "docs/runbook.md").read_text()
_DASHBOARD = orjson.loads((_ROOT / "helm/headrace/dashboards/headrace.json").read_bytes())

_ALERTS: list[dict[str, Any]] = [rule for group in _RULES["groups"] for rule in group["rules"]]
_OURS = re.compile(r"\b(?:service|messaging|kafka)_[a-z_]+\b")


def _series() -> set[str]:
    """Every name that a scrape can contain."""
    names: set[str] = set()
    for metric in METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        names |= {metric.prometheus_name + suffix for suffix in suffixes}
    return names


def _labels() -> set[str]:
    return {label.replace(".", "_") for metric in METRICS for label in metric.labels}


def _unknown(expression: str) -> set[str]:
    return set(_OURS.findall(expression)) - _series() - _labels()


def test_alerts_ask_for_metrics_that_exist() -> None:
    assert {alert["alert"]: _unknown(alert["expr"]) for alert in _ALERTS} == {
        alert["alert"]: set() for alert in _ALERTS
    }


def test_the_dashboard_asks_for_metrics_that_exist() -> None:
    asked = {
        panel["title"]: _unknown(target["expr"])
        for panel in _DASHBOARD["panels"]
        for target in panel.get("targets", [])
    }

    assert asked
    assert {title: names for title, names in asked.items() if names} == {}


def test_every_panel_says_what_it_shows_and_none_covers_another() -> None:
    taken: set[tuple[int, int]] = set()

    for panel in _DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + dx, place["y"] + dy)
            for dx in range(place["w"])
            for dy in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_the_runbook_has_a_chapter_for_each_alert_and_no_other() -> None:
    chapters = re.findall(r"^## (Headrace\w+)$", _RUNBOOK, re.MULTILINE)

    assert sorted(chapters) == sorted(alert["alert"] for alert in _ALERTS)


def test_every_chapter_says_meaning_causes_and_what_to_do() -> None:
    chapters = re.split(r"^## Headrace", _RUNBOOK, flags=re.MULTILINE)[1:]

    for chapter in chapters:
        name = chapter.partition("\n")[0]
        assert re.findall(r"^\*\*(Meaning|Causes|Do)\.\*\*", chapter, re.MULTILINE) == [
            "Meaning",
            "Causes",
            "Do",
        ], name


def test_every_alert_leads_to_its_chapter() -> None:
    for alert in _ALERTS:
        assert alert["annotations"]["runbook"] == f"docs/runbook.md#{alert['alert'].lower()}"
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}


def test_every_alert_is_tested_by_promtool() -> None:
    fired = {
        case["alertname"]
        for test in _RULE_TESTS["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }

    assert fired == {alert["alert"] for alert in _ALERTS}


def test_an_upgrade_takes_the_defaults_of_the_new_chart() -> None:
    """Helm's other option keeps those of the old one, and what is new in the chart has no value."""
    page = (_ROOT / "docs/upgrade.md").read_text()
    (upgrade,) = re.findall(r"^helm upgrade .*$", page, re.MULTILINE)

    assert "--reset-then-reuse-values" in upgrade.split()

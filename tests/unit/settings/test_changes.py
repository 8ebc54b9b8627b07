from typing import Any

import pytest

from service.settings import Settings, build_settings
from service.settings.changes import changed_paths, dotted, needs_restart


def _settings(**changes: Any) -> Settings:
    handler = {"use": "log_alerts", "output": "alerts", **changes.pop("handler", {})}
    pipeline = {
        "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "g"}},
        "normalizer": "log",
        "dead_letter": "logs.dead",
        "handlers": {"alerts": handler},
    }
    return build_settings({"pipelines": {"logs": pipeline}, **changes})


def _dotted(old: Settings, new: Settings) -> list[str]:
    return [dotted(path) for path in changed_paths(old, new)]


def test_equal_settings_do_not_differ() -> None:
    assert changed_paths(_settings(), _settings()) == []


def test_every_value_that_differs_is_named_by_its_path() -> None:
    new = _settings(logging={"level": "DEBUG"}, admin={"port": 9}, handler={"timeout_s": 3})

    assert _dotted(_settings(), new) == [
        "admin.port",
        "logging.level",
        "pipelines.logs.handlers.alerts.timeout_s",
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"logging": {"level": "DEBUG"}},
        {"drain_timeout_s": 7},
        {"handler": {"timeout_s": 3}},
        {"handler": {"retry": {"attempts": 9}}},
        {"handler": {"where": {"field": "level", "in": ["ERROR"]}}},
    ],
    ids=["level", "drain", "timeout", "retry", "filter"],
)
def test_these_may_change_while_running(changes: dict[str, Any]) -> None:
    paths = changed_paths(_settings(), _settings(**changes))

    assert paths
    assert needs_restart(paths) == []


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"admin": {"port": 9}}, "admin.port"),
        ({"logging": {"format": "console"}}, "logging.format"),
        ({"handler": {"output": "other"}}, "pipelines.logs.handlers.alerts.output"),
        ({"workers": 2}, "workers"),
    ],
    ids=["port", "log format", "output topic", "workers"],
)
def test_these_need_a_restart(changes: dict[str, Any], path: str) -> None:
    paths = changed_paths(_settings(), _settings(**changes))

    assert [dotted(each) for each in needs_restart(paths)] == [path]


def test_a_delay_topic_that_no_source_reads_yet_needs_a_restart() -> None:
    old = _settings(handler={"ordering": "none", "retry": {"attempts": 5}})
    retry = {"attempts": 9, "delay_topics": ["logs.retry.30s"]}
    new = _settings(handler={"ordering": "none", "retry": retry})

    assert [dotted(each) for each in needs_restart(changed_paths(old, new))] == [
        "pipelines.logs.handlers.alerts.retry.delay_topics"
    ]


def test_a_handler_that_is_added_needs_a_restart() -> None:
    old = _settings()
    logs = old.pipelines["logs"]
    handlers = {**logs.handlers, "more": logs.handlers["alerts"]}
    new = old.model_copy(
        update={"pipelines": {"logs": logs.model_copy(update={"handlers": handlers})}}
    )

    assert [dotted(each) for each in needs_restart(changed_paths(old, new))] == [
        "pipelines.logs.handlers.more"
    ]

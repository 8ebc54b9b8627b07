import logging
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.app.application import Application
from service.app.reload import Reloader
from service.errors import ConfigurationError
from service.events import RecordBatch, SourceRecord
from service.settings import Settings, build_settings


def _settings(**changes: Any) -> Settings:
    handler = {"use": "log_alerts", "output": "alerts", **changes.pop("handler", {})}
    pipeline = {
        "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "g"}},
        "normalizer": "log",
        "dead_letter": "logs.dead",
        "handlers": {"alerts": handler},
    }
    return build_settings({"pipelines": {"logs": pipeline}, **changes})


@pytest.fixture(autouse=True)
def _keep_log_levels() -> Iterator[None]:
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)
    logging.getLogger("aiokafka").setLevel(logging.NOTSET)


def _reload(old: Settings, new: Settings | Exception) -> tuple[bool, Application, dict[str, Any]]:
    application = Application(old)

    def load() -> Settings:
        if isinstance(new, Exception):
            raise new
        return new

    with capture_logs() as logs:
        reloaded = Reloader(application, load).reload()
    for built in application.pipelines.values():  # never run, so nobody else closes them
        built.inbox.close()
        built.pipeline.inbox.drop()
    return reloaded, application, dict(logs[-1])


async def test_what_may_change_is_taken_over() -> None:
    new = _settings(handler={"timeout_s": 3, "retry": {"attempts": 9}}, drain_timeout_s=7)

    reloaded, application, entry = _reload(_settings(), new)

    dispatcher = application.pipelines["logs"].pipeline.branches[0].dispatcher
    assert reloaded
    assert application.settings is new
    assert dispatcher._attempts.policy.attempts == 9
    assert dispatcher.calls._deadlines.timeout_s == 3
    assert entry["changed"] == [
        "drain_timeout_s",
        "pipelines.logs.handlers.alerts.retry.attempts",
        "pipelines.logs.handlers.alerts.timeout_s",
    ]


async def test_a_changed_filter_decides_what_is_decoded() -> None:
    wanted = {"where": {"field": "level", "in": ["ERROR"]}}

    _, application, _ = _reload(_settings(), _settings(handler=wanted))

    pipeline = application.pipelines["logs"].pipeline
    values = [b'{"level":"%b"}' % level for level in (b"INFO", b"ERROR")] * 20
    batch = RecordBatch("t", 0, [SourceRecord(value) for value in values], next_offset=40)
    (events,) = pipeline._normalize([batch])
    assert events.indexes == list(range(1, 40, 2))
    assert events.chosen_by is pipeline.branches[0].dispatcher.where


async def test_a_filter_decides_what_is_decoded_from_the_start() -> None:
    settings = _settings(handler={"where": {"field": "level", "in": ["ERROR"]}})

    _, application, _ = _reload(settings, ConfigurationError(["none"]))

    normalize = application.pipelines["logs"].pipeline._normalize
    batch = RecordBatch("t", 0, [SourceRecord(b"{}")] * 40, next_offset=40)
    (events,) = normalize([batch])
    assert events.indexes == []


async def test_a_change_that_needs_a_restart_changes_nothing_at_all() -> None:
    old = _settings()
    new = _settings(admin={"port": 9}, handler={"timeout_s": 3})

    reloaded, application, entry = _reload(old, new)

    dispatcher = application.pipelines["logs"].pipeline.branches[0].dispatcher
    assert not reloaded
    assert application.settings is old
    assert dispatcher.calls._deadlines.timeout_s != 3
    assert (entry["event"], entry["needs_restart"]) == ("reload refused", ["admin.port"])


async def test_a_configuration_with_mistakes_changes_nothing() -> None:
    old = _settings()

    reloaded, application, entry = _reload(old, ConfigurationError(["admin.port: too large"]))

    assert not reloaded
    assert application.settings is old
    assert entry["problems"] == ["admin.port: too large"]


async def test_a_file_that_is_gone_changes_nothing() -> None:
    reloaded, _, entry = _reload(_settings(), FileNotFoundError("headrace.yaml"))

    assert not reloaded
    assert entry["problems"] == ["headrace.yaml"]

"""Chains of pipelines: each wrong one is one precise error, and the right ones have an order."""

from typing import Any

import pytest

from service.errors import ConfigurationError
from service.settings import Settings, build_settings
from service.settings.chains import fed_by, group_of, last_first


def config(**changes: dict[str, Any]) -> dict[str, Any]:
    """Pipelines ``a`` (from Kafka), ``b`` behind it and ``c`` behind that; changed by name."""
    pipelines: dict[str, dict[str, Any]] = {
        "a": {"sources": {"kafka": {"topics": ["in"], "group_id": "g"}}},
        "b": {"sources": {"pipeline": {"name": "a"}}},
        "c": {"sources": {"pipeline": {"name": "b", "handler": "h"}}},
    }
    for name, pipeline in pipelines.items():
        pipeline.update({"dead_letter": "dead", "handlers": {"h": {"use": "log_alerts"}}})
        pipeline.update(changes.get(name, {}))
    return {"pipelines": pipelines}


def built(**changes: dict[str, Any]) -> Settings:
    return build_settings(config(**changes))


def test_a_chain_is_a_valid_configuration() -> None:
    assert fed_by(built(), "a") == ["b"]


WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "no such pipeline": (
        {"b": {"sources": {"pipeline": {"name": "x"}}}},
        "pipelines.b.sources.pipeline.name",
        "names no pipeline; there are a, b, c",
    ),
    "no such handler": (
        {"b": {"sources": {"pipeline": {"name": "a", "handler": "x"}}}},
        "pipelines.b.sources.pipeline.handler",
        "names no handler of a; there are h",
    ),
    "a circle": (
        {
            "a": {
                "sources": {
                    "kafka": {"topics": ["in"], "group_id": "g"},
                    "pipeline": {"name": "c"},
                }
            }
        },
        "pipelines.a.sources.pipeline.name",
        "c -> a -> b -> c",
    ),
    "a pipeline behind itself": (
        {"b": {"sources": {"pipeline": {"name": "b"}}}},
        "pipelines.b.sources.pipeline.name",
        "b -> b",
    ),
    "exactly once in front": (
        {"a": {"delivery": "exactly_once"}},
        "pipelines.a.delivery",
        "chain them by a topic",
    ),
    "exactly once at the end": (
        {"c": {"delivery": "exactly_once"}},
        "pipelines.c.delivery",
        "chain them by a topic",
    ),
    "a channel that drops": (
        {"b": {"channel": {"overflow": "drop_oldest"}}},
        "pipelines.b.channel.overflow",
        "use wait",
    ),
    "delay topics": (
        {
            "b": {
                "handlers": {
                    "h": {
                        "use": "log_alerts",
                        "ordering": "none",
                        "retry": {"delay_topics": ["later.5s"]},
                    }
                }
            }
        },
        "pipelines.b.handlers.h.retry.delay_topics",
        "tries again in place",
    ),
    "by channel and by topic": (
        {
            "a": {"handlers": {"h": {"use": "log_alerts", "output": "mid"}}},
            "b": {
                "sources": {
                    "kafka": {"topics": ["mid"], "group_id": "g"},
                    "pipeline": {"name": "a"},
                }
            },
        },
        "pipelines.b.sources.pipeline.name",
        "each result would come twice",
    ),
    "the same results twice": (
        {
            "b": {
                "sources": {
                    "pipeline": {"name": "a"},
                    "again": {"type": "pipeline", "name": "a", "handler": "h"},
                }
            }
        },
        "pipelines.b.sources.again.name",
        "brings what source pipeline brings too",
    ),
    "the wrong word": (
        {"b": {"sources": {"pipeline": {"name": "a", "handlers": ["h"]}}}},
        "pipelines.b.sources.pipeline.handlers",
        "one name",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_chain_is_one_precise_error(name: str) -> None:
    changes, path, message = WRONG[name]

    with pytest.raises(ConfigurationError) as caught:
        built(**changes)

    assert len(caught.value.problems) == 1, caught.value.problems
    assert caught.value.problems[0].startswith(f"{path}: ")
    assert message in caught.value.problems[0]


def test_pipelines_come_behind_those_that_they_feed() -> None:
    assert last_first(built()) == ["c", "b", "a"]


def test_the_progress_of_a_chained_pipeline_is_that_of_the_group_at_its_head() -> None:
    settings = built()

    assert [group_of(settings, name) for name in ("a", "b", "c")] == ["g", "g", "g"]


def test_a_chain_without_kafka_at_its_head_has_no_group() -> None:
    settings = built(a={"sources": {"websocket": {"path": "/ingest/a"}}})

    assert group_of(settings, "c") is None

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.cli import preflight
from service.cli.kafka_tools import (
    AccessDeniedError,
    Committed,
    Extent,
    HiddenTopicsError,
    Right,
    Rights,
)
from service.errors import ConfigurationError
from service.settings import build_settings


class FakeCluster:
    """Topics with settings, and what this user may not touch."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {"logs.raw": 4, "alerts": 4, "logs.dead": 4}
        self.configs: dict[str, dict[str, str]] = {
            topic: {"max.message.bytes": "1048588"} for topic in self.counts
        }
        self.denied: set[str] = set()
        self.hidden: set[str] = set()
        self.rights: dict[str, Rights] = {}
        self.tells_rights = True

    async def partitions(self, topics: Iterable[str]) -> dict[str, int | None]:
        wanted = list(topics)
        if hidden := [topic for topic in wanted if topic in self.hidden]:
            raise HiddenTopicsError(hidden)
        return {topic: self.counts.get(topic) for topic in wanted}

    async def topic_configs(self, topics: Sequence[str]) -> Mapping[str, Mapping[str, str]]:
        return {topic: self.configs[topic] for topic in topics}

    def _rights(self, name: str) -> Rights:
        return self.rights.get(name, frozenset(Right))

    async def topic_rights(self, topics: Iterable[str]) -> Mapping[str, Rights]:
        return {topic: self._rights(topic) for topic in topics} if self.tells_rights else {}

    async def group_rights(self, group: str) -> Rights | None:
        return self._rights(group) if self.tells_rights else None

    async def extent(self, topic: str) -> Extent:
        if topic in self.denied:
            raise AccessDeniedError(topic)
        return Extent({}, {})

    async def committed(self, group: str, topic: str, partitions: int) -> dict[int, Committed]:
        del topic
        if group in self.denied:
            raise AccessDeniedError(group)
        return dict.fromkeys(range(partitions), Committed(-1, ""))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    fake = FakeCluster()

    @asynccontextmanager
    async def tools(_kafka: object) -> AsyncGenerator[Any]:
        yield fake

    monkeypatch.setattr(preflight, "kafka_tools", tools)
    return fake


async def problems(**settings: Any) -> list[str]:
    return (await preflight.preflight(build_settings(settings))).problems


async def test_a_cluster_that_has_everything_is_no_problem(cluster: FakeCluster) -> None:
    del cluster
    assert await problems() == []


@pytest.mark.parametrize(
    ("topic", "path"),
    [
        ("logs.raw", "pipelines.logs.sources.kafka.topics"),
        ("alerts", "pipelines.logs.handlers.alerts.output"),
        ("logs.dead", "pipelines.logs.dead_letter"),
    ],
)
async def test_a_missing_topic_is_told_where_it_is_named(
    cluster: FakeCluster, topic: str, path: str
) -> None:
    del cluster.counts[topic]

    (problem,) = await problems()

    assert problem.startswith(f"{path}: topic {topic} ")
    assert "does not exist" in problem


async def test_a_topic_that_is_only_watched_has_its_place(cluster: FakeCluster) -> None:
    del cluster
    (problem,) = await problems(subscriptions={"topics": ["alerts", "elsewhere"]})

    assert problem.startswith("subscriptions.topics: topic elsewhere (subscription)")


async def test_batches_larger_than_a_topic_takes(cluster: FakeCluster) -> None:
    cluster.configs["alerts"] = {"max.message.bytes": "1000"}

    (problem,) = await problems()

    assert problem.startswith("kafka.producer.max_batch_size: topic alerts takes batches of")


async def test_dead_letters_larger_than_their_topic_takes(cluster: FakeCluster) -> None:
    cluster.configs["logs.raw"] = {"max.message.bytes": "2000000"}

    (problem,) = await problems()

    assert problem.startswith("pipelines.logs.dead_letter: topic logs.dead takes 1048588 bytes")


@pytest.mark.parametrize("policy", ["compact", "compact,delete"])
async def test_a_compacted_dead_letter_topic(cluster: FakeCluster, policy: str) -> None:
    cluster.configs["logs.dead"]["cleanup.policy"] = policy

    (problem,) = await problems()

    assert problem.startswith("pipelines.logs.dead_letter: topic logs.dead is compacted")


STATE = "g-p-h-jobs-changelog"


def stateful(cluster: FakeCluster) -> dict[str, Any]:
    """A configuration with state, and its topics in ``cluster``."""
    cluster.counts[STATE] = 4
    cluster.configs[STATE] = {"cleanup.policy": "compact"}
    handler = {"use": "progress", "output": "alerts"}
    pipeline = {
        "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "g"}},
        "dead_letter": "logs.dead",
        "handlers": {"h": handler},
    }
    return {"pipelines": {"p": pipeline}}


async def test_a_missing_changelog_is_told_with_the_handler_that_needs_it(
    cluster: FakeCluster,
) -> None:
    config = stateful(cluster)
    del cluster.counts[STATE]

    (problem,) = await problems(**config)

    assert problem.startswith(f"pipelines.p.handlers.h.use: topic {STATE} (changelog) does not")


@pytest.mark.parametrize("policy", ["delete", "compact,delete"])
async def test_a_changelog_that_forgets(cluster: FakeCluster, policy: str) -> None:
    config = stateful(cluster)
    assert await problems(**config) == []
    cluster.configs[STATE]["cleanup.policy"] = policy

    (problem,) = await problems(**config)

    assert problem.startswith(f"pipelines.p.handlers.h.use: topic {STATE} (changelog) has cleanup")
    assert f"cleanup.policy {policy}: " in problem


async def test_a_changelog_with_fewer_partitions_than_its_input_also_behind_a_chain(
    cluster: FakeCluster,
) -> None:
    config = stateful(cluster)
    pipelines = config["pipelines"]
    pipelines["head"] = {**pipelines["p"], "handlers": {"v": {"use": "log_alerts"}}}
    pipelines["p"]["sources"] = {"pipeline": {"name": "head"}}
    cluster.counts[STATE] = 3

    (problem,) = await problems(**config)

    assert problem == (
        f"pipelines.p.handlers.h.use: topic {STATE} (changelog) has 3 partitions and input "
        "logs.raw 4: it needs one for each"
    )


async def test_more_partitions_than_exactly_once_has_producers_for(cluster: FakeCluster) -> None:
    cluster.counts["logs.raw"] = 33
    handler = {"use": "log_alerts", "output": "alerts"}
    pipeline = {
        "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "g"}},
        "delivery": "exactly_once",
        "dead_letter": "logs.dead",
        "handlers": {"h": handler},
    }

    (problem,) = await problems(pipelines={"p": pipeline})

    assert problem.startswith("pipelines.p.delivery: exactly_once needs a producer per partition")


@pytest.mark.parametrize(
    ("denied", "path"),
    [
        ("logs.raw", "pipelines.logs.sources.kafka.topics"),
        ("alerts", "pipelines.logs.handlers.alerts.output"),
        ("headrace-logs", "pipelines.logs.sources.kafka.group_id"),
    ],
)
async def test_what_this_user_may_not_do_with_a_broker_that_tells_no_rights(
    cluster: FakeCluster, denied: str, path: str
) -> None:
    cluster.tells_rights = False
    cluster.denied.add(denied)

    (problem,) = await problems()

    assert problem.startswith(f"{path}: ")
    assert "may not be" in problem


async def test_each_topic_that_may_not_be_described_is_named(cluster: FakeCluster) -> None:
    cluster.hidden = {"logs.raw", "logs.dead"}
    cluster.rights["alerts"] = frozenset()

    raw = "pipelines.logs.sources.kafka.topics: topic logs.raw (input)"
    dead = "pipelines.logs.dead_letter: topic logs.dead (dead letters)"
    alerts = "pipelines.logs.handlers.alerts.output: topic alerts (output, subscription)"
    assert await problems() == [
        f"{raw} may not be described (DESCRIBE)",
        f"{dead} may not be described (DESCRIBE)",
        f"{alerts} may not be read (READ)",
        f"{alerts} may not be written (WRITE)",
    ]


@pytest.mark.parametrize(
    ("name", "missing", "problem"),
    [
        (
            "logs.raw",
            Right.READ,
            "pipelines.logs.sources.kafka.topics: topic logs.raw (input) may not be read (READ)",
        ),
        (
            "alerts",  # an output, and dashboards read it
            Right.WRITE,
            (
                "pipelines.logs.handlers.alerts.output: topic alerts (output, subscription) "
                "may not be written (WRITE)"
            ),
        ),
        (
            "alerts",
            Right.READ,
            (
                "pipelines.logs.handlers.alerts.output: topic alerts (output, subscription) "
                "may not be read (READ)"
            ),
        ),
        (
            "logs.dead",
            Right.WRITE,
            "pipelines.logs.dead_letter: topic logs.dead (dead letters) may not be written (WRITE)",
        ),
        (
            "headrace-logs",
            Right.READ,
            "pipelines.logs.sources.kafka.group_id: group headrace-logs may not be used (READ)",
        ),
    ],
)
async def test_a_right_that_is_missing(
    cluster: FakeCluster, name: str, missing: Right, problem: str
) -> None:
    cluster.rights[name] = frozenset(Right) - {missing}

    assert await problems() == [problem]


async def test_the_group_of_a_delay_topic_that_may_not_be_used(cluster: FakeCluster) -> None:
    cluster.counts["logs.retry.30s"] = 1
    cluster.configs["logs.retry.30s"] = {}
    cluster.rights["headrace-logs.logs.retry.30s"] = frozenset()

    (problem,) = await problems(
        pipelines={
            "logs": {
                "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "headrace-logs"}},
                "normalizer": "log",
                "dead_letter": "logs.dead",
                "handlers": {
                    "alerts": {
                        "use": "log_alerts",
                        "output": "alerts",
                        "ordering": "none",
                        "retry": {"delay_topics": ["logs.retry.30s"]},
                    }
                },
            }
        }
    )

    assert problem == (
        "pipelines.logs.handlers.alerts.retry.delay_topics: topic logs.retry.30s is read in group "
        "headrace-logs.logs.retry.30s, which may not be used (READ)"
    )


@pytest.mark.parametrize(
    ("name", "needless"),
    [("logs.raw", Right.WRITE), ("logs.dead", Right.READ), ("headrace-logs", Right.WRITE)],
)
async def test_a_right_that_nobody_needs(cluster: FakeCluster, name: str, needless: Right) -> None:
    cluster.rights[name] = frozenset(Right) - {needless}

    assert await problems() == []


async def test_a_certificate_file_that_is_none_is_a_mistake_of_the_configuration(
    tmp_path: Path,
) -> None:
    authority = tmp_path / "ca.pem"
    authority.write_text("no certificate")
    kafka = {"security_protocol": "SSL", "ssl_cafile": str(authority)}

    with pytest.raises(ConfigurationError, match=f"kafka.ssl_cafile {authority}: "):
        await preflight.preflight(build_settings({"kafka": kafka}))

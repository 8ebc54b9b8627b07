import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import orjson
import pytest

from service.cli import state
from service.cli.arguments import parse_arguments
from service.cli.kafka_tools import Extent, KafkaTools, StoredRecord
from service.cli.state import entries, export, reset, show, topics_of
from service.cli.usage import UsageError
from service.errors import ConfigurationError
from service.settings import Settings
from service.testing.harness import pipeline_of

TOPIC = "test-test-handler-jobs-changelog"
TOPICS = {"jobs": TOPIC}


class FakeKafka:
    """One changelog topic as a list; what the commands call.

    Attributes:
        members_of: How many each group has.
    """

    def __init__(self) -> None:
        self.records: list[StoredRecord] = []
        self.members_of: dict[str, int] = {}

    async def members(self, group: str) -> int:
        return self.members_of.get(group, 0)

    def put(self, key: bytes | None, value: Any, partition: int = 0) -> None:
        encoded = None if value is None else orjson.dumps(value)
        at = len(self.records)
        self.records.append(StoredRecord(TOPIC, partition, at, 1000 + at, key, encoded, ()))

    async def extent(self, topic: str) -> Extent:
        assert topic == TOPIC
        end = len(self.records)
        return Extent({0: 0, 1: 0}, {0: end, 1: end})

    async def read(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncGenerator[list[StoredRecord]]:
        del topic, starts, ends
        yield list(self.records)

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, *, partition: int
    ) -> "asyncio.Future[Any]":
        assert topic == TOPIC
        self.put(key, value, partition)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future

    async def settle(self, futures: list[Any]) -> None:
        assert all(future.done() for future in futures)


@pytest.fixture
def kafka() -> FakeKafka:
    fake = FakeKafka()
    fake.put(b"in/a", {"n": 1})
    fake.put(b"in/b", {"n": 2})
    fake.put(b"in/a", {"n": 3}, partition=1)
    fake.put(b"in/b", {"n": 4})
    fake.put(b"in/c", {"n": 5})
    fake.put(b"in/c", None)
    fake.put(b"nobody's", {"n": 6})
    return fake


def tools(fake: FakeKafka) -> KafkaTools:
    return cast("KafkaTools", fake)


async def test_the_latest_value_of_each_key_that_is_left_counts(kafka: FakeKafka) -> None:
    found = await entries(tools(kafka), TOPIC)

    assert [(each.key, each.record.partition, each.record.value) for each in found] == [
        ("a", 0, b'{"n":1}'),
        ("a", 1, b'{"n":3}'),
        ("b", 0, b'{"n":4}'),
    ]


async def test_show_counts_by_partition_and_prints_one_key_in_full(
    kafka: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    await show(tools(kafka), TOPICS, None)
    assert capsys.readouterr().out.splitlines() == [
        f"jobs: 3 keys in {TOPIC}",
        "  in/0: 2 keys, 14 bytes",
        "  in/1: 1 keys, 7 bytes",
    ]

    await show(tools(kafka), TOPICS, "b")
    assert orjson.loads(capsys.readouterr().out) == {
        "state": "jobs",
        "topic": "in",
        "partition": 0,
        "key": "b",
        "timestamp": 1003,
        "value": {"n": 4},
    }


async def test_export_prints_a_line_for_every_key(
    kafka: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    await export(tools(kafka), TOPICS)

    lines = [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["key"], line["value"]["n"]) for line in lines] == [("a", 1), ("a", 3), ("b", 4)]


async def test_reset_leaves_a_tombstone_where_each_key_was(kafka: FakeKafka) -> None:
    assert await reset(tools(kafka), TOPICS) == 3

    assert await entries(tools(kafka), TOPIC) == []
    assert [(r.key, r.partition) for r in kafka.records[-3:]] == [
        (b"in/a", 0),
        (b"in/a", 1),
        (b"in/b", 0),
    ]


@pytest.mark.parametrize("group", ["first", "second"])
def test_what_runs_behind_other_pipelines_of_its_process_is_not_reset(
    kafka: FakeKafka,
    group: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = pipeline_of("progress")
    pipelines = config["pipelines"]
    for name in ("first", "second"):
        kafka_source = {"topics": [f"{name}.raw"], "group_id": name}
        pipelines[name] = {**pipelines["test"], "sources": {"kafka": kafka_source}}
    fed = {name: {"type": "pipeline", "name": name} for name in ("first", "second")}
    pipelines["test"] = {**pipelines["test"], "sources": fed}
    file = tmp_path / "headrace.yaml"
    file.write_bytes(orjson.dumps(config))  # JSON is YAML

    @asynccontextmanager
    async def made(_: object) -> AsyncGenerator[FakeKafka]:
        yield kafka

    monkeypatch.setattr(state, "kafka_tools", made)
    kafka.members_of[group] = 1
    line = ["state", "reset", "test", "handler", "--yes", "--config", str(file)]

    assert state.main(parse_arguments(line)) == 75
    assert capsys.readouterr().err == f"the service runs: group {group} has members\n"
    assert len(kafka.records) == 7


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (("other", "handler", None), "no pipeline 'other', only test"),
        (("test", "other", None), "there is no 'other', only handler"),
        (("test", "handler", "other"), "only jobs"),
    ],
    ids=["pipeline", "handler", "state"],
)
def test_what_does_not_exist_is_named(asked: tuple[str, str, str | None], problem: str) -> None:
    settings = Settings.model_validate(pipeline_of("progress"))

    with pytest.raises(UsageError, match=problem):
        topics_of(settings, *asked)
    assert topics_of(settings, "test", "handler", "jobs") == TOPICS


def test_a_state_that_is_not_declared_says_how_it_would_be() -> None:
    settings = Settings.model_validate(pipeline_of("validate"))

    with pytest.raises(ConfigurationError, match=r"handler: keeps no durable state; .* state=\("):
        topics_of(settings, "test", "handler", None)


def test_a_declared_state_without_kafka_says_why_it_is_not_durable() -> None:
    config = pipeline_of("progress")
    config["pipelines"]["test"]["sources"] = {"websocket": {"path": "/ingest/jobs"}}
    settings = Settings.model_validate(config)

    with pytest.raises(
        ConfigurationError,
        match=r"handler: keeps no durable state: none of its events come from Kafka, so what it "
        r"keeps ends with the process$",
    ):
        topics_of(settings, "test", "handler", None)


def test_the_command_line_names_pipeline_and_handler() -> None:
    parsed = parse_arguments(["state", "reset", "test", "handler", "--yes"])

    assert (parsed.module, parsed.action, parsed.pipeline) == ("state", "reset", "test")
    assert parsed.yes

"""A broker that makes every topic that a client lets it make, which is Kafka's default."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from tests.kafka.fixtures import need_apache
from tests.kafka.server import QUICK_START, KafkaServer
from tests.service_process import ServiceProcess, log_pipeline, user_environ

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONFIG = log_pipeline(source="source", output="output", dead_letter="dead", group="group")
WATCHED_S = 3.0


@pytest.fixture(scope="module")
def server() -> Iterator[KafkaServer]:
    need_apache("makes topics by itself")
    willing = {"auto.create.topics.enable": "true"}
    with KafkaServer(overrides=willing, java_options=QUICK_START) as server:
        yield server


@pytest.fixture
async def willing(server: KafkaServer) -> KafkaServer:
    """The broker, without topics."""
    if left := await _topics(server):
        await _delete(server, *left)
    return server


async def _topics(server: KafkaServer) -> set[str]:
    """All that there are, which asks for none by its name."""
    async with _admin(server) as admin:
        return set(await admin.list_topics()) - {"__consumer_offsets"}


async def _delete(server: KafkaServer, *topics: str) -> None:
    async with _admin(server) as admin:
        await admin.delete_topics(list(topics))


@asynccontextmanager
async def _admin(server: KafkaServer) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=server.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


def _run(server: KafkaServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    logs = "HEADRACE_PIPELINES__LOGS__"
    return subprocess.run(  # noqa: S603 -- ourselves
        [sys.executable, "-m", "service", *arguments],
        env={
            **user_environ(),
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": server.bootstrap,
            f"{logs}SOURCES__KAFKA__TOPICS": "source",
            f"{logs}HANDLERS__ALERTS__OUTPUT": "output",
            f"{logs}DEAD_LETTER": "dead",
            "HEADRACE_SUBSCRIPTIONS__TOPICS": "output",
        },
        input="{}\n",
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize(
    "command", ["check --connect", "topics", "tail source --count 1", "produce source", "dlq list"]
)
async def test_commands_tell_of_a_missing_topic_and_make_none(
    willing: KafkaServer, command: str
) -> None:
    done = await asyncio.to_thread(_run, willing, *command.split())

    assert await _topics(willing) == set()
    assert done.returncode == 78, done.stderr


async def test_the_service_makes_no_topic_and_brings_none_back(
    willing: KafkaServer, tmp_path: Path
) -> None:
    async with ServiceProcess(willing.bootstrap, CONFIG, tmp_path) as service:
        await asyncio.sleep(WATCHED_S)
        before = await _topics(willing)
        created = await asyncio.to_thread(_run, willing, "topics", "--create")
        async with asyncio.timeout(60):
            while (await service.get("/readyz"))[0] != 200:
                await asyncio.sleep(0.1)
        existing = await _topics(willing)
        await _delete(willing, "output")
        await asyncio.sleep(WATCHED_S)
        after = await _topics(willing)
        assert await service.terminate() == 0

    assert before == set()
    assert created.returncode == 0
    assert existing == {"source", "output", "dead"}
    assert after == {"source", "dead"}

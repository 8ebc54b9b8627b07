"""The commands as a user types them, against a broker."""

import asyncio
import fcntl
import re
import signal
import subprocess
import sys
import termios
import time
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import orjson
import pytest
from aiokafka import AIOKafkaProducer

from service.consumers.kafka_decompress import MAX_DECOMPRESSED_BYTES
from service.delivery.dead_letters import dead_letter
from service.events import Failure, Headers
from tests.kafka.client import Kafka
from tests.service_process import user_environ

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

THIRTEEN_LINES = (
    "INFO: User 'alice' logged in.",
    "DEBUG: Cache hit for item 123.",
    "WARN: Database connection pool nearly exhausted.",
    "INFO: Processed batch 42.",
    "ERROR: Failed to write to disk: permission denied.",
    "INFO: User 'bob' logged out.",
    "DEBUG: Executing expensive query.",
    "WARN: API rate limit approaching for external service.",
    "INFO: Report generated successfully.",
    "ERROR: Critical system fault detected in module X.",
    "INFO: Heartbeat received from worker node.",
    "DEBUG: Background task completed in 5ms.",
    "ERROR: Unhandled exception in UI renderer.",
)


class Cli:
    """Runs ``headrace`` with topics of its own on the session's broker."""

    def __init__(self, bootstrap: str) -> None:
        self.input = Kafka.unique("logs.raw")
        self.output = Kafka.unique("alerts")
        self.dead = Kafka.unique("logs.dead")
        logs = "HEADRACE_PIPELINES__LOGS__"
        self.environ = user_environ() | {
            "HEADRACE_KAFKA__BOOTSTRAP_SERVERS": bootstrap,
            "HEADRACE_ADMIN__PORT": "0",
            "HEADRACE_SERVER__PORT": "0",
            f"{logs}SOURCES__KAFKA__TOPICS": self.input,
            f"{logs}SOURCES__KAFKA__GROUP_ID": Kafka.unique("group"),
            f"{logs}HANDLERS__ALERTS__OUTPUT": self.output,
            f"{logs}DEAD_LETTER": self.dead,
            "HEADRACE_SUBSCRIPTIONS__TOPICS": self.output,
        }

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 -- ourselves
            [sys.executable, "-m", "service", *arguments],
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        with subprocess.Popen(
            [sys.executable, "-m", "service", "run"], env=self.environ, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()


@pytest.fixture
def cli(kafka_bootstrap: str) -> Cli:
    return Cli(kafka_bootstrap)


def test_topics_are_missing_then_created_then_there(cli: Cli) -> None:
    missing = cli.run("topics")
    unready = cli.run("check", "--connect")
    created = cli.run("topics", "--create", "--partitions", "2")
    ready = cli.run("check", "--connect")

    assert (missing.returncode, missing.stdout.count("missing")) == (78, 3)
    assert unready.returncode == 78
    assert f"pipelines.logs.dead_letter: topic {cli.dead}" in unready.stderr
    assert (created.returncode, created.stdout.count("2 partitions, created")) == (0, 3)
    assert ready.returncode == 0, ready.stderr
    assert ready.stdout.endswith("# brokers, topics, access and sizes: ok\n")


def test_thirteen_lines_become_five_alerts_and_a_signal_drains(cli: Cli) -> None:
    cli.run("topics", "--create", "--partitions", "1")

    produced = cli.run("produce", cli.input, stdin="\n".join((*THIRTEEN_LINES, "nonsense")))
    with cli.running() as process:
        tail = cli.run("tail", cli.output, "--from", "earliest", "--count", "5")
        dead = cli.run("tail", cli.dead, "--from", "earliest", "--count", "1")
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=20)

    assert produced.stderr == f"14 events to {cli.input}\n"
    alerts = [orjson.loads(line)["value"]["alert"] for line in tail.stdout.splitlines()]
    assert alerts == [
        f"[ALERT - {line.partition(': ')[0]}] {line.partition(': ')[2]}"
        for line in THIRTEEN_LINES
        if line.startswith(("WARN", "ERROR"))
    ]
    letter = orjson.loads(dead.stdout)
    assert letter["value"] == "nonsense"
    assert letter["headers"]["headrace-error"] == "decode"
    assert letter["headers"]["headrace-origin"] == f"{cli.input}/0/13"
    assert code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_line_is_sent_when_it_is_written_and_a_signal_ends_what_waits_for_more(
    cli: Cli, number: signal.Signals
) -> None:
    cli.run("topics", "--create", "--partitions", "1")
    produce, tail = (
        subprocess.Popen(  # noqa: S603 -- ourselves
            [sys.executable, "-m", "service", *command],
            env=cli.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for command in (("produce", cli.input), ("tail", cli.input, "--from", "earliest"))
    )
    with produce, tail:
        assert produce.stdin is not None
        assert tail.stdout is not None
        assert produce.stderr is not None
        produce.stdin.write(b"one\n")
        produce.stdin.flush()
        seen = orjson.loads(tail.stdout.readline())
        produce.send_signal(number)
        tail.send_signal(number)
        codes = produce.wait(timeout=20), tail.wait(timeout=20)
        said = produce.stderr.read()

    assert seen["value"] == "one"
    assert codes == (0, 0)
    assert said == b"1 events to %b\n" % cli.input.encode()


def test_a_signal_ends_a_tail_that_nobody_reads(cli: Cli) -> None:
    cli.run("topics", "--create", "--partitions", "1")
    cli.run("produce", cli.input, "--sample", "logs", "--count", "2000")

    with subprocess.Popen(  # noqa: S603 -- ourselves
        [sys.executable, "-m", "service", "tail", cli.input, "--from", "earliest"],
        env=cli.environ,
        stdout=subprocess.PIPE,
    ) as tail:
        assert tail.stdout is not None
        before = -1
        while not before == _unread(tail.stdout) > 0:  # a pipe tells nobody that it is full
            assert tail.poll() is None
            before = _unread(tail.stdout)
            time.sleep(0.5)
        tail.send_signal(signal.SIGTERM)
        try:
            code = tail.wait(timeout=20)
        finally:
            tail.kill()

    assert code == 0


def _unread(pipe: IO[bytes]) -> int:
    """Bytes that wait in it."""
    count = array("i", [0])
    fcntl.ioctl(pipe, termios.FIONREAD, count)
    return count[0]


def test_tail_filters_and_starts_where_it_is_told(cli: Cli) -> None:
    cli.run("topics", "--create", "--partitions", "1")
    cli.run("produce", cli.input, "--sample", "metrics", "--count", "50", "--rate", "1000")

    filtered = cli.run(
        "tail", cli.input, "--from", "2020-01-01", "--count", "3",
        "--where", '{"field": "metric", "equals": "cpu"}',
    )  # fmt: skip

    events = [orjson.loads(line) for line in filtered.stdout.splitlines()]
    assert [event["value"]["metric"] for event in events] == ["cpu"] * 3
    assert all(event["key"] == event["value"]["host"] for event in events)


def test_dead_letters_are_listed_sent_back_once_and_purged(cli: Cli) -> None:
    cli.run("topics", "--create", "--partitions", "1")
    cli.run("produce", cli.input, stdin='nonsense\n{"level": 3}\n')
    with cli.running() as process:
        cli.run("tail", cli.dead, "--from", "earliest", "--count", "2")
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)

    listed = cli.run("dlq", "list")
    some = cli.run("dlq", "redrive", "--error", "schema")
    rest = cli.run("dlq", "redrive")
    back = cli.run("tail", cli.input, "--from", "earliest", "--count", "4")
    unsure = cli.run("dlq", "purge", "--before", "now")
    purged = cli.run("dlq", "purge", "--before", "now", "--yes")
    empty = cli.run("dlq", "list")

    assert listed.stderr == f"2 in {cli.dead}: 1 decode, 1 schema\n"
    assert f"schema  from {cli.input}/0/1" in listed.stdout
    assert some.stderr == "sent 1 back\n"
    assert rest.stderr == "sent 1 back\nleft 1: sent back before\n"
    events = [orjson.loads(line) for line in back.stdout.splitlines()]
    assert [event["value"] for event in events[2:]] == [{"level": 3}, "nonsense"]
    assert [event["headers"] for event in events[2:]] == [{"headrace-redrives": "1"}] * 2
    assert unsure.returncode == 64
    assert (purged.returncode, purged.stderr) == (0, f"deleted 2 records of {cli.dead}\n")
    assert empty.stderr == f"0 in {cli.dead}\n"


async def test_dead_letters_are_sent_back_whatever_they_hold(cli: Cli, kafka: Kafka) -> None:
    # larger than the client itself would send, and neither key nor value, which it asserts
    values = [(b"k", b"x" * 1_500_000), (None, None), (b"k", b"last")]
    for topic in (cli.input, cli.dead):
        await kafka.create_topic(topic, **{"max.message.bytes": 2_000_000})
    producer = AIOKafkaProducer(
        bootstrap_servers=cli.environ["HEADRACE_KAFKA__BOOTSTRAP_SERVERS"],
    )
    await producer.start()
    try:
        for offset, (key, value) in enumerate(values):
            letter = dead_letter(
                Failure("handler", "", stage="handle", handler="h"),
                key=key, value=value, headers=(), origin=(cli.input, 0, offset),
                failed_at_ms=0, max_bytes=2_000_000,
            )  # fmt: skip
            batch = producer.create_batch()
            batch.append(key=key, value=value, timestamp=None, headers=list(letter.headers))
            batch.close()
            await (await producer.send_batch(batch, cli.dead, partition=0))
    finally:
        await producer.stop()

    redriven = await asyncio.to_thread(cli.run, "dlq", "redrive")

    assert (redriven.returncode, redriven.stderr) == (0, "sent 3 back\n")
    back = await kafka.consume(cli.input, 3)
    assert [(record.key, record.value) for record in back] == values


async def test_what_its_topic_refuses_stays_and_the_others_go(cli: Cli, kafka: Kafka) -> None:
    values = [b"first", b"x" * 50_000, b"behind", b"last"]
    letters: list[tuple[bytes | None, bytes | None, Headers]] = []
    await kafka.create_topic(cli.dead)
    await kafka.create_topic(cli.input, **{"max.message.bytes": 20_000})
    for offset, value in enumerate(values):
        letter = dead_letter(
            Failure("handler", "", stage="handle", handler="h"),
            key=b"k", value=value, headers=(), origin=(cli.input, 0, offset),
            failed_at_ms=0, max_bytes=2_000_000,
        )  # fmt: skip
        letters.append((letter.key, letter.value, letter.headers))
    await kafka.produce(cli.dead, letters)

    redriven = await asyncio.to_thread(cli.run, "dlq", "redrive")

    assert redriven.returncode == 75
    assert redriven.stdout == f"0/1 -> {cli.input} refused\n"
    assert redriven.stderr.startswith("sent 3 back\nleft 1: ")
    back = await kafka.consume(cli.input, 3)
    assert [record.value for record in back] == [b"first", b"behind", b"last"]


async def test_a_batch_that_unpacks_to_more_than_there_is_room_for_is_told(
    cli: Cli, kafka: Kafka
) -> None:
    await kafka.create_topic(cli.dead)
    producer = AIOKafkaProducer(
        bootstrap_servers=cli.environ["HEADRACE_KAFKA__BOOTSTRAP_SERVERS"],
        compression_type="gzip",
        max_batch_size=2**31 - 1,
        max_request_size=2**31 - 1,
    )
    await producer.start()
    try:
        await producer.send_and_wait(cli.dead, bytes(MAX_DECOMPRESSED_BYTES), partition=0)
    finally:
        await producer.stop()

    listed = await asyncio.to_thread(cli.run, "dlq", "list")

    assert listed.returncode == 75
    assert listed.stderr == (
        f"topic {cli.dead}: a batch expands beyond {MAX_DECOMPRESSED_BYTES} bytes\n"
    )


def test_a_topic_that_does_not_exist_is_said_at_once(cli: Cli) -> None:
    assert cli.run("tail", "no-such-topic").returncode == 78
    assert cli.run("produce", "no-such-topic", stdin="x").stderr == (
        "there is no topic no-such-topic\n"
    )


def test_a_broker_that_is_not_there_is_temporary(cli: Cli) -> None:
    cli.environ["HEADRACE_KAFKA__BOOTSTRAP_SERVERS"] = "127.0.0.1:1"

    result = cli.run("topics")

    assert result.returncode == 75
    assert "127.0.0.1:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_demo_ends_by_itself_with_a_summary() -> None:
    environ = user_environ()

    result = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--duration", "5"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    summary = re.search(r"summary: ([\d,]+) events in, ([\d,]+) alerts out", result.stdout)
    assert summary is not None
    events, alerts = (int(count.replace(",", "")) for count in summary.groups())
    assert events >= 100
    assert 0.2 < alerts / events < 0.6  # five of thirteen, at random
    assert "[ALERT - " in result.stdout

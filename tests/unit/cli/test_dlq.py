import asyncio
import os
import signal
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from aiokafka.errors import KafkaError

from service.cli.arguments import parse_arguments
from service.cli.dlq import (
    Filters,
    confirmed,
    dead_letter_topic,
    dead_letters,
    filters_of,
    line_of,
)
from service.cli.kafka_clients import AccessDeniedError, KafkaToolError
from service.cli.kafka_tools import Commit, Committed, Extent, KafkaTools, StoredRecord
from service.cli.redrive import AnotherRedriveError, Letter, redrive
from service.cli.redriven import Redriven
from service.cli.usage import UsageError
from service.delivery.dead_letters import dead_letter, parse_dead_letter
from service.errors import BrokerUnavailableError
from service.events import Failure, Headers
from service.settings import build_settings

TOPIC = "logs.dead"


class FakeKafka:
    """Topics as lists, one partition each, with a group's commits; what the tools call.

    Attributes:
        stride: Distance of two offsets: with transactions there are markers in between.
        away: At this value the broker is gone.
        refused: A value that the broker does not take, nor what is sent in one request with it.
        unsendable: A value that the client does not even send.
        acknowledged_after_s: How long an acknowledgement takes.
        forgetful: Whether commits are refused.
        pause_s: Waited after the first letter is read, and after the last.
        named: What an error would call what was sent.
    """

    def __init__(self) -> None:
        self.stride = 1
        self.away: bytes | None = None
        self.refused: bytes | None = None
        self.unsendable: bytes | None = None
        self.acknowledged_after_s = 0.0
        self.forgetful = False
        self.named: list[str] = []
        self._request: list[tuple[asyncio.Future[Any], tuple[Any, Any, Any, Headers]]] = []
        self.pause_s = 0.0
        self.topics: dict[str, list[StoredRecord]] = {TOPIC: [], "logs.raw": []}
        self.commits: dict[str, dict[int, tuple[int, str]]] = {}

    def add(
        self, code: str, *, key: bytes | None = b"k", origin: str = "logs.raw", redrives: int = 0
    ) -> None:
        letters = self.topics[TOPIC]
        headers: Headers = [("headrace-redrives", b"%d" % redrives)] if redrives else []
        letter = dead_letter(
            Failure(code, "because", stage="handle", handler="h"),
            key=key,
            value=b"v%d" % len(letters),
            headers=[*headers, ("own", b"1")],
            origin=(origin, 0, 7),
            failed_at_ms=1000,
            max_bytes=100_000,
        )
        self._store(TOPIC, letter.key, letter.value, letter.headers)

    def _store(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        records = self.topics[topic]
        offset = len(records) * self.stride
        records.append(StoredRecord(topic, 0, offset, 1000 + offset, key, value, tuple(headers)))

    async def partitions(self, topics: Iterable[str]) -> dict[str, int | None]:
        return {topic: 1 if topic in self.topics else None for topic in topics}

    async def extent(self, topic: str) -> Extent:
        return Extent({0: 0}, {0: len(self.topics[topic]) * self.stride})

    async def offsets_at(self, topic: str, at_ms: int, end: Mapping[int, int]) -> dict[int, int]:
        found = (r.offset for r in self.topics[topic] if r.timestamp >= at_ms)
        return {0: next(found, end[0])}

    async def read(
        self, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
    ) -> AsyncGenerator[list[StoredRecord]]:
        found = [r for r in self.topics[topic] if starts[0] <= r.offset < ends[0]]
        for chunk in (found[:1], found[1:]):
            yield chunk
            await asyncio.sleep(self.pause_s)

    async def committed(self, group: str, topic: str, partitions: int) -> dict[int, Committed]:
        commits = self.commits.get(f"{group}/{topic}", {})
        return {number: Committed(*commits.get(number, (-1, ""))) for number in range(partitions)}

    @asynccontextmanager
    async def committing(
        self, group: str, topic: str, partitions: Iterable[int]
    ) -> AsyncGenerator[Commit]:
        del partitions

        async def commit(offsets: Mapping[int, tuple[int, str]]) -> None:
            if self.forgetful:
                raise AccessDeniedError("group: access denied")
            self.commits.setdefault(f"{group}/{topic}", {}).update(offsets)

        yield commit

    async def send(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Headers
    ) -> "asyncio.Future[Any]":
        if value is not None and value == self.away:
            raise BrokerUnavailableError("gone")
        if value is not None and value == self.unsendable:
            raise KafkaToolError("unsendable")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if self.refused is None:
            self._store(topic, key, value, headers)
            loop.call_later(self.acknowledged_after_s, future.set_result, None)
        else:
            self._request.append((future, (topic, key, value, headers)))
        return future

    async def settle(self, futures: Sequence["asyncio.Future[Any]"], names: Sequence[str]) -> None:
        self.named += names
        request, self._request = self._request, []
        if any(record[2] == self.refused for _, record in request):
            for future, _ in request:
                future.set_exception(KafkaError())
                future.exception()
            raise KafkaToolError("too large")
        for future, record in request:
            self._store(*record)
            future.set_result(None)
        if futures:
            await asyncio.wait(futures)

    @property
    def returned(self) -> list[bytes | None]:
        return [record.value for record in self.topics["logs.raw"]]


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


def letters_of(
    kafka: FakeKafka, filters: Filters | None = None, count: int | None = None
) -> AsyncIterator[Letter]:
    return dead_letters(cast("KafkaTools", kafka), TOPIC, filters or Filters(), count)


async def run(
    kafka: FakeKafka,
    filters: Filters | None = None,
    *,
    count: int | None = None,
    rate: float = 1e6,
    dry_run: bool = False,
) -> str:
    summary = await redrive(
        cast("KafkaTools", kafka),
        TOPIC,
        letters_of(kafka, filters),
        rate=rate,
        max_redrives=3,
        count=count,
        dry_run=dry_run,
    )
    return str(summary)


def test_filters_come_from_the_command_line() -> None:
    line = (
        "dlq list --error decode --error schema --key k --handler h --since 0 --until 1764230400000"
    )

    assert filters_of(parse_arguments(line.split())) == Filters(
        errors=frozenset({"decode", "schema"}),
        key=b"k",
        handler="h",
        since_ms=0,
        until_ms=1764230400000,
    )
    assert filters_of(parse_arguments(["dlq", "list"])) == Filters()


def test_a_key_of_any_bytes_can_be_asked_for() -> None:
    key = os.fsdecode(b"\xffk")  # as Python gives an argument that is no UTF-8

    assert filters_of(parse_arguments(["dlq", "list", "--key", key])).key == b"\xffk"


async def test_nothing_is_sent_that_may_not_be_remembered(kafka: FakeKafka) -> None:
    kafka.add("decode")
    kafka.forgetful = True

    with pytest.raises(AccessDeniedError):
        await run(kafka)

    assert kafka.returned == []


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (Filters(), [0, 1, 2]),
        (Filters(errors=frozenset({"decode"})), [0, 2]),
        (Filters(errors=frozenset({"decode", "schema"})), [0, 1, 2]),
        (Filters(key=b"other"), [2]),
        (Filters(handler="nobody"), []),
        (Filters(since_ms=0), [0, 1, 2]),
        (Filters(since_ms=1001), [1, 2]),
        (Filters(since_ms=2000), []),
        (Filters(until_ms=1001), [0]),
    ],
)
async def test_dead_letters_are_filtered(
    kafka: FakeKafka, filters: Filters, expected: list[int]
) -> None:
    kafka.add("decode")
    kafka.add("schema")
    kafka.add("decode", key=b"other")

    assert [record.offset async for record, *_ in letters_of(kafka, filters)] == expected
    some = letters_of(kafka, filters, 1)
    assert [record.offset async for record, *_ in some] == expected[:1]


async def test_a_record_that_is_no_dead_letter_is_left_out(kafka: FakeKafka) -> None:
    await kafka.send(TOPIC, None, b"stray", ())

    assert [record async for record in letters_of(kafka)] == []


async def test_a_redriven_record_goes_home_unchanged_but_for_the_count(kafka: FakeKafka) -> None:
    kafka.add("handler", redrives=1)

    await run(kafka)

    (record,) = kafka.topics["logs.raw"]
    assert (record.key, record.value) == (b"k", b"v0")
    assert dict(record.headers) == {"own": b"1", "headrace-redrives": b"2"}


async def test_a_second_redrive_sends_only_what_the_first_left(kafka: FakeKafka) -> None:
    for code in ("decode", "schema", "decode"):
        kafka.add(code)

    first = await run(kafka, Filters(errors=frozenset({"decode"})))
    second = await run(kafka)
    third = await run(kafka)

    assert first == "sent 2 back"
    assert second == "sent 1 back\nleft 2: sent back before"
    assert third == "sent 0 back\nleft 3: sent back before"
    assert kafka.returned == [b"v0", b"v2", b"v1"]


async def test_a_record_that_comes_back_again_and_again_stays(kafka: FakeKafka) -> None:
    kafka.add("handler", redrives=3)

    summary = await run(kafka)

    assert summary == (
        "sent 0 back\nleft 1: sent back as often as --max-redrives allows (3), and dead again"
    )


async def test_a_record_without_a_topic_to_go_to_stays(kafka: FakeKafka) -> None:
    kafka.add("handler", origin="websocket")

    assert await run(kafka) == "sent 0 back\nleft 1: there is no topic websocket"


async def test_a_dry_run_sends_and_remembers_nothing(kafka: FakeKafka) -> None:
    kafka.add("decode")

    summary = await run(kafka, dry_run=True)

    assert summary == "would send 1 back"
    assert (kafka.returned, kafka.commits) == ([], {})


async def test_a_redrive_keeps_to_its_rate(kafka: FakeKafka) -> None:
    for _ in range(50):
        kafka.add("decode")
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    await run(kafka, rate=10)

    assert loop.time() - began_s == pytest.approx(5.0)


async def test_a_redrive_that_stopped_early_is_continued(kafka: FakeKafka) -> None:
    for _ in range(3):
        kafka.add("decode")
    await run(kafka, count=1)

    assert await run(kafka) == "sent 2 back\nleft 1: sent back before"


async def test_a_redrive_in_steps_of_a_few_comes_to_the_end(kafka: FakeKafka) -> None:
    kafka.add("handler", redrives=3)
    for _ in range(3):
        kafka.add("decode")

    said = [(await run(kafka, count=2)).splitlines()[0] for _ in range(3)]

    assert said == ["sent 2 back", "sent 1 back", "sent 0 back"]
    assert kafka.returned == [b"v1", b"v2", b"v3"]


async def test_letters_between_transaction_markers_are_all_sent_back(kafka: FakeKafka) -> None:
    kafka.stride = 2
    for _ in range(20_000):
        kafka.add("decode")

    assert await run(kafka, rate=1e9) == "sent 20000 back"
    assert kafka.named[-1] == "0/39998 -> logs.raw"
    assert await run(kafka) == "sent 0 back\nleft 20000: sent back before"


async def test_what_was_remembered_as_scattered_is_joined(kafka: FakeKafka) -> None:
    kafka.stride = 2
    for _ in range(10):
        kafka.add("decode")
    scattered = Redriven(-1, "", 0)
    for offset in range(0, 18, 2):
        scattered.add(offset)
    kafka.commits[f"headrace-redrive-{TOPIC}/{TOPIC}"] = {0: scattered.commit()}

    assert await run(kafka) == "sent 1 back\nleft 9: sent back before"
    assert kafka.commits[f"headrace-redrive-{TOPIC}/{TOPIC}"] == {0: (19, "")}


async def test_what_was_sent_before_an_error_is_not_sent_again(kafka: FakeKafka) -> None:
    for _ in range(4):
        kafka.add("decode")
    kafka.away = b"v2"

    for _ in range(2):
        with pytest.raises(BrokerUnavailableError):
            await run(kafka)

    assert kafka.returned == [b"v0", b"v1"]


async def test_what_its_topic_refuses_holds_up_nothing_behind_it(
    kafka: FakeKafka, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(4):
        kafka.add("decode")
    kafka.refused = b"v1"

    summary = await run(kafka)
    named = capsys.readouterr().out
    kafka.refused = None
    again = await run(kafka)

    assert summary == "sent 3 back\nleft 1: too large"
    assert named == "0/1 -> logs.raw refused\n"
    assert again == "sent 1 back\nleft 3: sent back before"
    assert kafka.returned == [b"v0", b"v2", b"v3", b"v1"]


async def test_what_cannot_be_sent_holds_up_nothing_behind_it(kafka: FakeKafka) -> None:
    for _ in range(3):
        kafka.add("decode")
    kafka.unsendable = b"v0"

    assert await run(kafka) == "sent 2 back\nleft 1: unsendable"
    assert kafka.returned == [b"v1", b"v2"]


async def test_one_more_is_one_that_was_taken(kafka: FakeKafka) -> None:
    for _ in range(3):
        kafka.add("decode")
    kafka.refused = b"v0"

    assert await run(kafka, count=1) == "sent 1 back\nleft 1: too large"
    assert kafka.returned == [b"v1"]


async def test_of_two_redrives_at_once_one_ends_before_it_repeats_more_than_a_slice(
    kafka: FakeKafka,
) -> None:
    for _ in range(100):
        kafka.add("decode")

    said = await asyncio.gather(run(kafka, rate=100), run(kafka, rate=100), return_exceptions=True)

    errors = [each for each in said if isinstance(each, AnotherRedriveError)]
    assert [str(error).partition(":")[0] for error in errors] == [
        "another redrive of logs.dead runs"
    ]
    assert len(kafka.returned) <= 120
    assert set(kafka.returned) == {b"v%d" % at for at in range(100)}


@pytest.mark.parametrize(
    ("rate", "sent_before"),
    [(20, 2), (1e6, 4)],
    ids=["while a slice is on its way", "before a slice is full"],
)
async def test_what_was_on_its_way_when_it_had_to_end_is_not_sent_again(
    kafka: FakeKafka, rate: float, sent_before: int
) -> None:
    for _ in range(4):
        kafka.add("decode")
    kafka.acknowledged_after_s = kafka.pause_s = 1.0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await run(kafka, rate=rate)

    rest = await run(kafka)

    assert rest == f"sent {4 - sent_before} back\nleft {sent_before}: sent back before"
    assert kafka.returned == [b"v0", b"v1", b"v2", b"v3"]


async def test_time_in_which_nothing_was_sent_is_not_made_up_for(kafka: FakeKafka) -> None:
    for _ in range(21):
        kafka.add("decode")
    kafka.pause_s = 60.0
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    await run(kafka, rate=10, count=21)

    assert loop.time() - began_s == pytest.approx(0.1 + 60.0 + 1.9)


def test_the_topic_has_to_be_named_when_there_are_several() -> None:
    one = build_settings({})
    logs = one.pipelines["logs"].model_dump(mode="json", exclude_unset=True)
    other = {
        **logs,
        "dead_letter": "other.dead",
        "sources": {"kafka": {"topics": ["other"], "group_id": "g"}},
    }
    several = build_settings({"pipelines": {"logs": logs, "other": other}})

    assert dead_letter_topic(one, None) == "logs.dead"
    assert dead_letter_topic(several, "other.dead") == "other.dead"
    with pytest.raises(UsageError, match=r"logs\.dead, other\.dead"):
        dead_letter_topic(several, None)


async def test_a_line_tells_the_story_without_control_characters(kafka: FakeKafka) -> None:
    kafka.add("decode", key=b"\x1b[2J")
    record = kafka.topics[TOPIC][0]
    info = parse_dead_letter(record.headers)
    assert info is not None

    assert line_of(record, info) == (
        "0/0  1970-01-01T00:00:01.000Z  decode h  from logs.raw/0/7  "
        'key "\\u001b[2J"  1 attempts  because'
    )


class _Terminal:
    """Somebody who presses Ctrl-C and, as nothing happens, says yes."""

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        signal.raise_signal(signal.SIGINT)
        return "y\n"


def test_ctrl_c_at_the_question_ends_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Terminal())
    answers: list[bool] = []

    async def ask() -> None:
        answers.append(confirmed("delete?"))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(ask())

    assert answers == []

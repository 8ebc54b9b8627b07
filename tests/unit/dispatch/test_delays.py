import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service import Event, TransientError, handler
from service.clock import wall_clock_ms
from service.testing.broker import MemoryBroker
from service.testing.harness import INPUT, OUTPUT, Harness, pipeline_of

Headrace = Callable[..., Harness]

OURS = [
    "headrace-origin",
    "headrace-not-before",
    "headrace-rung",
    "headrace-attempts",
    "headrace-for-handler",
]

_seen: list[tuple[int, int]] = []


@pytest.fixture(autouse=True)
def wall_clock_in_virtual_time(monkeypatch: pytest.MonkeyPatch) -> None:
    def virtual_s() -> float:
        return 1_000_000_000.0 + asyncio.get_running_loop().time()

    monkeypatch.setattr("service.clock.wall_clock_s", virtual_s)


@handler("delays.flaky")
def flaky(event: Event) -> dict[str, Any]:
    number = event.data["n"]
    _seen.append((number, event.attempts))
    if number < 0 and event.attempts < -number:
        raise TransientError("not yet")
    return {"n": number}


@handler("delays.flaky_about_nothing", tombstones=True)
def flaky_about_nothing(event: Event) -> dict[str, Any]:
    if event.attempts < 3:
        raise TransientError("not yet")
    return {"key": event.key, "data": event.data}


def _options(broker: MemoryBroker) -> dict[str, Any]:
    for topic in ("retry.1s", "retry.2s"):
        broker.create_topic(topic)
    return {
        "broker": broker,
        "ordering": "none",
        "retry": {
            "attempts": 2,
            "initial_s": 0.01,
            "delay_topics": [
                {"topic": "retry.1s", "delay_s": 1},
                {"topic": "retry.2s", "delay_s": 2},
            ],
        },
    }


async def test_a_failing_record_waits_in_a_delay_topic_while_its_key_goes_on(
    headrace: Headrace,
) -> None:
    _seen.clear()
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        await service.send({"n": -3}, key="k")
        await service.send({"n": 1}, key="k")
        await service.settle()
        early = [output["n"] for output in service.outputs()]
        waiting = broker.records("retry.1s")
        await _until_outputs(service, 2)

        assert early == [1]
        assert waiting[0].header("headrace-attempts") == b"2"
        assert waiting[0].header("headrace-origin") == b"input/0/0"
        assert [output["n"] for output in service.outputs()] == [1, -3]
        assert [attempts for number, attempts in _seen if number == -3] == [0, 1, 2, 3]
        assert len(broker.records("retry.2s")) == 1


async def test_after_the_last_delay_topic_comes_the_dead_letter_topic(headrace: Headrace) -> None:
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        await service.send({"n": -99}, key="k")
        for _ in range(200):
            await service.advance(0.1)
            if service.dead_letters():
                break

        letter = service.dead_letters()[0]
        assert (letter.code, letter.key, letter.value) == ("handler", b"k", b'{"n":-99}')
        assert letter.record.header("headrace-origin") == b"input/0/0"
        assert letter.record.header("headrace-attempts") == b"4"


async def test_a_record_goes_through_delay_topics_as_it_came(headrace: Headrace) -> None:
    broker = MemoryBroker()
    before = [("h", b"1"), ("h", b"2"), ("headrace-origin", b"other/7/8"), ("traceparent", b"t")]

    async with headrace(flaky, **_options(broker)) as service:
        await service.send({"n": -99}, key="k", headers=before)
        for _ in range(200):
            await service.advance(0.1)
            if service.dead_letters():
                break

        letter = service.dead_letters()[0].record
        (waiting,) = broker.records("retry.2s")
        assert list(waiting.headers[:4]) == before
        assert [name for name, _ in waiting.headers[4:]] == OURS
        assert list(letter.headers[:4]) == before
        assert letter.headers[4][0] == "headrace-error"
        assert letter.headers[-2] == ("headrace-origin", b"input/0/0")


async def test_a_record_with_neither_key_nor_value_goes_through_delay_topics(
    headrace: Headrace,
) -> None:
    broker = MemoryBroker()

    async with headrace(flaky_about_nothing, **_options(broker)) as service:
        await service.send(None)
        await _until_outputs(service, 1)

        (waiting,) = broker.records("retry.1s")
        assert (waiting.key, waiting.value) == (None, None)
        assert service.outputs() == [{"key": None, "data": None}]
        assert service.dead_letters() == []


async def test_the_dead_letter_of_a_dead_letter_names_the_topic_that_it_was_read_from(
    headrace: Headrace,
) -> None:
    before = [("headrace-error", b"handler"), ("headrace-origin", b"other/0/8")]

    async with headrace(flaky, retry={"attempts": 1}) as service:
        await service.send({"n": -99}, headers=before)
        await service.settle()

        letter = service.dead_letters()[0].record
        assert list(letter.headers[:2]) == before
        assert letter.headers[-2] == ("headrace-origin", b"input/0/0")


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (
            {"n": -3},
            {"ce_specversion": "1.0", "ce_id": "1", "ce_source": "s", "ce_type": "t"},
        ),
        (
            {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": {"n": -3}},
            {"content-type": "application/cloudevents+json"},
        ),
    ],
    ids=["binary", "structured"],
)
async def test_a_cloud_event_is_the_same_behind_delay_topics(
    value: dict[str, Any], headers: dict[str, str]
) -> None:
    _seen.clear()
    broker = MemoryBroker()
    options = _options(broker)
    config = pipeline_of(flaky, **{name: options[name] for name in ("ordering", "retry")})
    config["pipelines"]["test"]["normalizer"] = "cloudevents"

    async with Harness(config, broker=broker) as service:
        await service.send(value, headers=headers)
        await _until_outputs(service, 1)

        assert _seen == [(-3, 0), (-3, 1), (-3, 2), (-3, 3)]
        assert [output["n"] for output in service.outputs()] == [-3]
        assert len(broker.records("retry.2s")) == 1


async def test_no_record_waits_longer_than_its_delay_topic_says(headrace: Headrace) -> None:
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        for number in (1, 2, 3):  # of a clock that is wrong by decades
            broker.produce(
                "retry.2s",
                b'{"n": %d}' % number,
                headers=[
                    ("headrace-origin", b"input/0/0"),
                    ("headrace-not-before", b"4000000000000"),
                    ("headrace-rung", b"2"),
                    ("headrace-attempts", b"3"),
                    ("headrace-for-handler", b"handler"),
                ],
            )
        await service.advance(1.9)
        early = service.outputs()
        await service.advance(0.5)

        assert early == []
        assert [output["n"] for output in service.outputs()] == [1, 2, 3]


async def _until_outputs(service: Harness, count: int) -> None:
    for _ in range(200):
        if len(service.outputs()) >= count:
            return
        await service.advance(0.1)


async def test_a_service_with_delay_topics_opens_its_public_port(headrace: Headrace) -> None:
    async def status(_may_know: Callable[[str], bool]) -> dict[str, Any]:
        return {}

    async with headrace(flaky, ordering="none", retry={"delay_topics": ["later.5s"]}) as service:
        edge = service.application.open_to_public(status)

        assert edge is service.application.edge
        service.application.edge = None  # it was never served


@handler("delays.other")
def other(event: Event) -> dict[str, Any]:
    return {"other": event.data["n"]}


async def test_what_waits_in_a_delay_topic_is_for_the_handler_that_failed(
    headrace: Headrace,
) -> None:
    config = pipeline_of(flaky, ordering="none", retry={"attempts": 1, "delay_topics": ["it.1s"]})
    config["pipelines"]["test"]["handlers"]["other"] = {"use": "delays.other", "output": OUTPUT}
    async with headrace(config) as service:
        await service.send({"n": -1}, key="k")
        await _until_outputs(service, 2)
        await service.advance(1)

        assert service.outputs() == [{"other": -1}, {"n": -1}]


@pytest.mark.parametrize(
    ("name", "told"),
    [(b"renamed", "waited for handler renamed"), (None, "says for no handler")],
    ids=["of a handler that is gone", "of nobody"],
)
async def test_what_no_handler_looks_at_any_more_becomes_a_dead_letter(
    headrace: Headrace, name: bytes | None, told: str
) -> None:
    broker = MemoryBroker()
    options = _options(broker)
    where = {"field": "n", "gt": 0}  # it is not the filter either that lets it go
    async with headrace(flaky, **options, where=where) as service:
        headers = [("headrace-origin", b"input/0/7"), ("headrace-rung", b"1")]
        if name is not None:
            headers.append(("headrace-for-handler", name))
        broker.produce("retry.1s", b'{"n": -5}', headers=headers)
        await service.advance(2)

        (letter,) = service.dead_letters()
        assert (letter.code, letter.value) == ("handler", b'{"n": -5}')
        assert told in letter.detail
        assert letter.record.header("headrace-origin") == b"input/0/7"
        assert not service.outputs()


async def test_exactly_once_a_delay_topic_goes_on_where_the_service_before_ended() -> None:
    broker = MemoryBroker()
    options = _options(broker)
    config = pipeline_of(flaky, **{name: options[name] for name in ("ordering", "retry")})
    config["pipelines"]["test"]["delivery"] = "exactly_once"

    async with Harness(config, broker=broker) as service:
        await service.send({"n": -3}, key="k")
        await _until_outputs(service, 1)
    async with Harness(config, broker=broker) as service:
        await service.send({"n": 1}, key="k")
        await service.advance(10)

        assert [output["n"] for output in service.outputs()] == [-3, 1]
        assert len(broker.records("retry.2s")) == 1


@handler("delays.endless", timeout_s=3600)
async def endless(event: Event) -> None:
    del event
    await asyncio.sleep(600)


async def test_delay_topics_share_the_memory_of_the_process() -> None:
    broker = MemoryBroker()
    options = _options(broker)
    config = pipeline_of(endless, **{name: options[name] for name in ("ordering", "retry")})

    async with Harness({**config, "memory": {"max_records": 30}}, broker=broker) as service:
        for _ in range(100):
            for topic in (INPUT, "retry.1s", "retry.2s"):
                broker.produce(topic, b"{}", headers=[("headrace-for-handler", b"handler")])
            await service.advance(0.1)
        held = [
            partition.offsets.outstanding
            for source in service.application.pipelines["test"].kafka_sources
            for partition in source.partitions
            if partition.offsets is not None
        ]
        await service.kill()

    assert 0 < sum(held) <= 30


async def test_results_behind_a_delay_topic_are_named_by_the_record_that_failed_first(
    headrace: Headrace,
) -> None:
    broker = MemoryBroker()

    async with headrace(flaky, **_options(broker)) as service:
        for _ in range(2):  # as after a crash between its copy and the commit
            broker.produce(
                "retry.1s",
                b'{"n": 1}',
                headers=[
                    ("headrace-origin", b"input/0/7"),
                    ("headrace-rung", b"1"),
                    ("headrace-for-handler", b"handler"),
                ],
            )
        await service.advance(2)

        ids = [record.header("headrace-id") for record in broker.records(OUTPUT)]
        assert ids == [b"test/handler/input/0/7-0"] * 2


async def test_a_record_of_a_delay_topic_is_late_from_when_it_was_due() -> None:
    broker = MemoryBroker()
    options = _options(broker)
    config = pipeline_of(endless, **{name: options[name] for name in ("ordering", "retry")})

    async with Harness(config, broker=broker) as service:
        headers = [("headrace-for-handler", b"handler")]
        due_ms = b"%d" % (wall_clock_ms() + 2_000)
        broker.produce("retry.2s", b"{}", headers=[*headers, ("headrace-not-before", due_ms)])
        await service.advance(12)
        partitions = service.application.snapshot().pipelines["test"].partitions
        await service.kill()

    assert {each.topic: each.lag_s for each in partitions} == {
        INPUT: 0.0,
        "retry.1s": 0.0,
        "retry.2s": pytest.approx(10.0, abs=0.01),
    }

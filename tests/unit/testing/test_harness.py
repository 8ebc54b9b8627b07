import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from service import Event, HandlerContext, PermanentError, Result, TransientError, handler
from service.errors import ConfigurationError
from service.publishers.base import ProduceFailedError, ProduceUnknownError
from service.testing.harness import Harness, pipeline_of
from tests.unit.mistaken_errors import CarelessError, MuteError, StatusError

Headrace = Callable[..., Harness]


@handler("harness.double")
def double(event: Event) -> dict[str, Any]:
    if event.data.get("bad"):
        raise PermanentError("bad")
    return {"n": event.data["n"] * 2}


_failures: dict[int, int] = {}


@handler("harness.flaky", timeout_s=5)
async def flaky(event: Event) -> Result:
    number = event.data["n"]
    if _failures.setdefault(number, 2):
        _failures[number] -= 1
        raise TransientError("not yet")
    await asyncio.sleep(1)
    return Result(number, key=f"k{number}")


async def test_events_go_in_and_results_come_out_committed(headrace: Headrace) -> None:
    async with headrace(double) as service:
        await service.send({"n": 1}, key="a")
        await service.send({"n": 2}, key="b")
        await service.settle()

        assert service.outputs() == [{"n": 2}, {"n": 4}]
        assert [record.key for record in service.records()] == [b"a", b"b"]
        assert service.committed() == {0: 2}
    assert service.report is not None
    assert service.report.drained


async def test_what_fails_is_dead_lettered_with_its_reason(headrace: Headrace) -> None:
    async with headrace(double) as service:
        await service.send({"n": 1, "bad": True}, key="a")
        await service.send(b"{")
        await service.send({"n": 3})
        await service.settle()

        handled, decoded = sorted(service.dead_letters(), key=lambda letter: letter.code)[::-1]
        assert (handled.code, handled.detail, handled.key) == (
            "handler",
            "PermanentError: bad",
            b"a",
        )
        assert (decoded.code, decoded.value) == ("decode", b"{")
        assert service.outputs() == [{"n": 6}]


async def test_retries_take_no_time_but_count_it(headrace: Headrace) -> None:
    _failures.clear()
    async with headrace(flaky, retry={"initial_s": 10, "max_s": 10, "jitter": 0}) as service:
        await service.send({"n": 7})
        await service.settle()

        assert service.outputs() == [7]
        assert 21 <= asyncio.get_running_loop().time() < 23


async def test_a_killed_service_leaves_its_work_to_the_next_one(headrace: Headrace) -> None:
    _failures.update(dict.fromkeys(range(10), 0))
    async with headrace(flaky, concurrency=2) as first:
        for number in range(10):
            await first.send({"n": number}, key=str(number))
        await first.advance(2.5)
        await first.kill()
    assert 0 < len(first.outputs()) < 10

    async with headrace(flaky, broker=first.broker) as second:
        await second.settle()

    assert set(second.outputs()) == set(range(10))


async def test_two_members_share_the_partitions(headrace: Headrace) -> None:
    async with headrace(double, partitions=4) as first:
        async with headrace(double, broker=first.broker) as second:
            held = [
                [str(held.partition) for held in source.partitions]
                for service in (first, second)
                for built in service.application.pipelines.values()
                for source in built.kafka_sources
            ]
            for number in range(40):
                await first.send({"n": number}, partition=number % 4)
            await first.settle()
        await first.send({"n": 40}, partition=3)
        await first.settle()

    assert held == [["input/0", "input/2"], ["input/1", "input/3"]]
    assert sorted(value["n"] for value in first.outputs()) == [2 * n for n in range(41)]


async def test_a_broker_that_is_away_costs_nothing(headrace: Headrace) -> None:
    async with headrace(double) as service:
        await service.send({"n": 1})
        await service.settle()
        service.broker.stop()
        await service.send({"n": 2})
        await service.advance(30)
        assert service.outputs() == [{"n": 2}]

        service.broker.start()
        await service.settle()

        assert service.outputs() == [{"n": 2}, {"n": 4}]


@pytest.mark.parametrize(
    "fault", [ProduceFailedError("refused"), ProduceUnknownError("lost")], ids=["refused", "lost"]
)
async def test_a_failed_batch_is_sent_again_by_another_producer(
    headrace: Headrace, fault: Any
) -> None:
    async with headrace(double) as service:
        service.broker.produce_faults.append(fault)
        await service.send({"n": 1})
        await service.settle()

        assert {"n": 2} in service.outputs()
        ids = {record.header("headrace-id") for record in service.records()}
        assert len(ids) == 1
        assert len(service.brokers.producers) == 2


async def test_holes_and_corrupt_batches_do_not_stop_a_partition(headrace: Headrace) -> None:
    config = pipeline_of(double)
    config["pipelines"]["test"]["sources"]["kafka"]["undecodable"] = "skip"
    async with headrace(config) as service:
        await service.send({"n": 1})
        service.broker.skip("input", count=3)
        bad = await service.send({"n": 2})
        service.broker.corrupt("input", 0, bad.offset)
        await service.send({"n": 3})
        await service.settle()

        assert service.outputs() == [{"n": 2}, {"n": 6}]
        assert [letter.code for letter in service.dead_letters()] == ["batch"]
        assert service.committed() == {0: 6}


@handler("harness.thread_of")
def thread_of(event: Event) -> str:
    del event
    return threading.current_thread().name


async def test_a_handler_runs_where_its_configuration_says(headrace: Headrace) -> None:
    async with headrace(thread_of, run_in="thread") as service:
        await service.send({})
        await service.settle()

        (name,) = service.outputs()
        assert name.startswith("headrace-handler")


_MISTAKEN: dict[str, Callable[[], Exception]] = {
    "transient": lambda: CarelessError("http://"),
    "wait": lambda: TransientError("busy", retry_after_s="1"),  # type: ignore[arg-type]
    "code": lambda: StatusError(404),
    "words": MuteError,
}


@handler("harness.mistaken")
def mistaken(event: Event) -> str:
    kind = event.data["kind"]
    if kind in _MISTAKEN:
        error = _MISTAKEN[kind]()
        raise error
    return str(kind)


@pytest.mark.parametrize("kind", _MISTAKEN)
async def test_an_error_of_a_class_with_a_mistake_costs_its_own_record_only(
    headrace: Headrace, kind: str
) -> None:
    async with headrace(mistaken) as service:
        await service.send({"kind": kind})
        await service.send({"kind": "good"})
        await service.settle()

        assert service.outputs() == ["good"]
        assert [letter.code for letter in service.dead_letters()] == ["handler"]
        assert service.committed() == {0: 2}


async def test_a_configuration_that_would_not_start_is_no_test(headrace: Headrace) -> None:
    with pytest.raises(ConfigurationError, match=r"handlers\.handler\.output: is the dead-letter"):
        headrace(double, output="dead")
    with pytest.raises(ConfigurationError, match=r"handler\.retries: is no known key; did you"):
        headrace(double, retries={"attempts": 1})


def _declared(factor: int) -> Any:
    @handler("harness.made")
    def made(event: Event) -> int:
        return int(event.data["n"]) * factor

    return made


async def test_of_two_handlers_of_one_name_the_earlier_one_is_not_taken_for_the_later(
    headrace: Headrace,
) -> None:
    twice, thrice = _declared(2), _declared(3)

    with pytest.raises(TypeError, match=r"not the last one .* declared as 'harness\.made'"):
        headrace(twice)
    async with headrace(thrice) as service:
        await service.send({"n": 1})
        await service.settle()

        assert service.outputs() == [3]


@pytest.mark.parametrize("headers", [{"a": "1", "b": b"2"}, [("a", b"1"), ("b", "2")]])
async def test_headers_are_sent_however_they_are_written(headrace: Headrace, headers: Any) -> None:
    async with headrace(double) as service:
        await service.send({"n": 1}, headers=headers)

        (record,) = service.records("input")
        assert record.headers == (("a", b"1"), ("b", b"2"))


@handler("harness.misspelt", state=("counts",))
class _Misspelt:
    async def open(self, context: HandlerContext) -> None:
        self.counts = context.state("count")

    def __call__(self, event: Event) -> None:
        self.counts.put(event, "a", 1)


async def test_a_state_that_is_declared_by_another_name_than_it_is_asked_for_is_told(
    headrace: Headrace,
) -> None:
    with capture_logs() as logs:
        async with headrace(_Misspelt):
            pass

    (told,) = [line for line in logs if line["event"] == "declared state is not asked for"]
    assert (told["declared"], told["asked"]) == (["counts"], ["count"])


async def test_what_the_test_raises_comes_out_as_it_is(headrace: Headrace) -> None:
    with pytest.raises(ZeroDivisionError):
        async with headrace(double):
            raise ZeroDivisionError


async def test_a_whole_configuration_may_be_given(headrace: Headrace) -> None:
    config = {
        "pipelines": {
            "logs": {
                "sources": {"kafka": {"topics": ["logs.raw"], "group_id": "logs"}},
                "normalizer": "log",
                "dead_letter": "logs.dead",
                "handlers": {"alerts": {"use": "log_alerts", "output": "alerts"}},
            }
        }
    }
    async with headrace(config) as service:
        await service.send("WARN: Database connection pool nearly exhausted.")
        await service.send("INFO: Heartbeat received from worker node.")
        await service.settle()

        (alert,) = service.outputs("alerts")
        assert alert["alert"] == "[ALERT - WARN] Database connection pool nearly exhausted."


async def test_a_function_that_is_no_handler_is_refused(headrace: Headrace) -> None:
    with pytest.raises(TypeError, match="not declared"):
        headrace(len)


async def test_a_configuration_that_the_service_refuses_is_refused(headrace: Headrace) -> None:
    with pytest.raises(ConfigurationError) as refused:
        headrace(double, output="input", retry={"initial_s": 60})

    handler_path = "pipelines.test.handlers.handler"
    assert refused.value.problems == [
        f"{handler_path}.output: is a topic that this pipeline reads: its results would loop",
        f"{handler_path}.retry.initial_s: is above max_s (10 s)",
    ]


@handler("harness.parent")
class _Parent:
    def __call__(self, event: Event) -> Any:
        return event.data


class _Child(_Parent): ...


async def test_a_subclass_is_not_taken_for_the_class_that_is_declared(headrace: Headrace) -> None:
    with pytest.raises(TypeError, match="not declared"):
        headrace(_Child)


async def test_a_service_that_could_not_be_entered_is_not_left_running(headrace: Headrace) -> None:
    before = asyncio.all_tasks()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001), headrace(double):
            raise AssertionError("it takes longer than that")

    assert asyncio.all_tasks() == before


@handler("harness.elsewhere")
def elsewhere(event: Event) -> Result:
    return Result(event.data, topic="elsewhere")


async def test_what_settles_never_for_want_of_a_topic_names_the_topic(
    headrace: Headrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.testing.harness.SETTLE_TIMEOUT_S", 2.0)
    async with headrace(elsewhere) as service:
        await service.send({"n": 1})

        with pytest.raises(TimeoutError, match=r"; lag 1; there is no topic elsewhere$"):
            await service.settle()

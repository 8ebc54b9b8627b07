"""What handlers say without an event, through the whole service in memory."""

from typing import Any

import pytest

from service import Event, handler
from service.app import handler_life
from service.handlers import HandlerContext, KeyTimers, Timer, load_handler
from service.testing.harness import Harness, pipeline_of

for _shipped in ("ensemble", "llm_sentences"):
    load_handler(_shipped)  # importing reads files, which a coroutine must not do


@pytest.mark.parametrize(
    ("use", "options", "event"),
    [
        (
            "ensemble",
            {"models": 2, "deadline_s": 2},
            {"request": "", "model": "m", "prediction": 1},
        ),
        ("llm_sentences", {"flush_after_s": 2}, {"conversation": "", "index": 0, "delta": "Hm"}),
    ],
    ids=["ensemble", "llm_sentences"],
)
async def test_however_many_are_due_at_once_all_of_them_are_told(
    use: str, options: dict[str, Any], event: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler_life, "MAX_TICK_RESULTS", 1_000)
    (named,) = [name for name, value in event.items() if value == ""]
    async with Harness(pipeline_of(use, options=options)) as service:
        await service.send_all([{**event, named: f"n{number}"} for number in range(1_200)])
        await service.settle()
        await service.advance(5)

        told = [value[named] for value in service.outputs()]
        assert sorted(told) == sorted(f"n{number}" for number in range(1_200))


@handler("tick_tests_measured", state=("timers",))
class Measured:
    """Tells of each key, some time after its event, a number that may be none."""

    async def open(self, context: HandlerContext) -> None:
        self._timers: KeyTimers = context.timers(self.tell)

    def __call__(self, event: Event) -> None:
        self._timers.set(event, event.key_text, 0)

    def tell(self, timer: Timer) -> dict[str, Any]:
        value = {"none": float("nan"), "large": "x" * 2_000_000}.get(timer.key, 1.0)
        return {"key": timer.key, "value": value}


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("bad", ["none", "large"])
async def test_a_timers_result_that_cannot_be_published_takes_no_other_along(
    bad: str, delivery: str
) -> None:
    document = pipeline_of(Measured)
    document["pipelines"]["test"]["delivery"] = delivery
    async with Harness(document) as service:
        for key in ("a", bad, "c"):
            await service.send({}, key=key)
        await service.settle()
        await service.advance(3)

        assert sorted(value["key"] for value in service.outputs()) == ["a", "c"]
        assert len(service.dead_letters()) == 1
        timers = service.records("test-test-handler-timers-changelog")
        latest = {record.key: record.value for record in timers}
        assert set(latest.values()) == {None}

"""A handler that takes whole runs of events: order, keys, commits, and what a failure leaves."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from service import Event, PermanentError, Result, handler
from service.events import EventBatch
from service.handlers.context import HandlerContext
from service.state.keyed import KeyedState, Partition
from service.testing.harness import Harness, pipeline_of


@handler("runs_tests_each", state=("seen",))
class Each:
    """Says what each event's ``say`` asks for, and counts the events."""

    async def open(self, context: HandlerContext) -> None:
        self._seen: KeyedState = context.state("seen")

    def __call__(self, event: Event) -> Any:
        count = (self._seen.get(event, "count") or 0) + 1
        self._seen.put(event, "count", count)
        return _said(event.data, count)

    def handle_many(self, events: EventBatch, wanted: Sequence[int]) -> list[tuple[int, Any]]:
        place = Partition(events.batch.topic, events.batch.partition)
        told: list[tuple[int, Any]] = []
        count = self._seen.get(place, "count") or 0
        for index in wanted:
            count += 1
            self._seen.put(place, "count", count)
            said = _said(events.data[index], count)
            if said is not None:
                told.append((index, said))
        return told


def _said(data: dict[str, Any], count: int) -> Any:
    match data["say"]:
        case "mapping":
            return {"count": count}
        case "elsewhere":
            return Result({"count": count}, key="elsewhere")
        case "several":
            return [{"count": count}, {"count": count}]
        case "nothing":
            return None
        case _:
            raise PermanentError("unheard of")


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("broken", [False, True], ids=["whole", "one fails"])
async def test_results_of_a_run_keep_their_order_and_their_keys(
    delivery: str, *, broken: bool
) -> None:
    document = pipeline_of(Each)
    document["pipelines"]["test"]["delivery"] = delivery
    says = ["mapping", "mapping", "several", "nothing", "mapping", "elsewhere", "mapping"]
    if broken:
        says.append("what")
    async with Harness(document) as service:
        for say in says:
            await service.send({"say": say}, key="own")
        await service.settle()

        told = [
            (record.key, orjson.loads(record.value or b"")["count"]) for record in service.records()
        ]
        assert told == [
            (b"own", 1),
            (b"own", 2),
            (b"own", 3),
            (b"own", 3),
            (b"own", 5),
            (b"elsewhere", 6),
            (b"own", 7),
        ]
        assert service.committed() == {0: len(says)}
        letters = [letter.detail for letter in service.dead_letters()]
        assert letters == ["PermanentError: unheard of"] * broken
        (changed, *_) = reversed(service.broker.records("test-test-handler-seen-changelog"))
        assert changed.value == b"7"

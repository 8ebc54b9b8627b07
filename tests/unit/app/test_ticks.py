"""What handlers say without an event, through the whole service in memory."""

from typing import Any

import pytest

from service.app import handler_life
from service.handlers import load_handler
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

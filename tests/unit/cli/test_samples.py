from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest

from service.cli.samples import KEY_FIELDS, SAMPLES, tokens
from service.testing.harness import Harness


def clock() -> int:
    return 1_000


@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_is_the_same_for_a_seed_and_has_its_key(name: str) -> None:
    first = list(islice(SAMPLES[name](1, clock), 200))

    assert first == list(islice(SAMPLES[name](1, clock), 200))
    assert first != list(islice(SAMPLES[name](2, clock), 200))
    assert all(isinstance(event[KEY_FIELDS[name]], str) for event in first)
    assert all(event["timestamp"] == 1_000 for event in first)


def test_tokens_of_a_conversation_come_in_order_and_end_once() -> None:
    seen: dict[str, list[tuple[int, bool]]] = {}
    for event in islice(tokens(1, clock), 500):
        seen.setdefault(event["conversation"], []).append((event["index"], event["done"]))

    assert len(seen) > 10
    for deltas in seen.values():
        assert [index for index, _ in deltas] == list(range(len(deltas)))
        assert not any(done for _, done in deltas[:-1])


@pytest.mark.parametrize(
    ("name", "use", "options"),
    [
        ("logs", "log_alerts", {}),
        ("metrics", "rolling_metrics", {}),
        ("metrics", "anomaly", {}),
        ("tokens", "llm_sentences", {}),
        ("predictions", "ensemble", {"models": 3}),
    ],
)
async def test_a_sample_is_what_the_shipped_handler_takes_as_it_is(
    name: str, use: str, options: dict[str, Any], headrace: Callable[..., Harness]
) -> None:
    events = list(islice(SAMPLES[name](1, clock), 3_000))

    async with headrace(use, options=options) as service:
        for event in events:
            await service.send(event, key=event[KEY_FIELDS[name]])
        await service.settle()
        await service.advance(120)

        assert service.outputs()
        assert service.dead_letters() == []

from itertools import islice

import pytest

from service.cli.samples import KEY_FIELDS, SAMPLES, tokens


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

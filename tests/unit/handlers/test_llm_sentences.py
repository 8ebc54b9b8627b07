"""Compares sentences with an independent splitter on the whole text of each conversation."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import ConfigurationError, PermanentError, SchemaError
from service.events import Event, EventBatch, RecordBatch, SourceRecord
from service.handlers import load_handler
from service.handlers.results import to_results
from service.state.keyed import Partition
from service.testing.broker import MemoryBroker
from service.testing.harness import Harness, pipeline_of

OpenHandler = Callable[..., Awaitable[Any]]

_WORDS = ["stream", "water", "mill", "wheel", "3.14", "e.g", "channel", "(aside)", "forbidden"]


def _sentences(random_: random.Random, count: int) -> list[str]:
    return [
        " ".join(random_.choices(_WORDS, k=random_.randint(1, 9))) + random_.choice(".!?…")
        for _ in range(count)
    ]


def _delta(conversation: str, index: int, delta: str, *, done: bool = False) -> dict[str, Any]:
    return {"conversation": conversation, "index": index, "delta": delta, "done": done}


async def test_sentences_come_whole_once_and_in_order_despite_disorder_and_duplicates(
    open_handler: OpenHandler,
) -> None:
    random_ = random.Random(11)
    expected: dict[str, list[str]] = {}
    arriving: list[tuple[float, dict[str, Any]]] = []
    for n in range(40):
        conversation = f"c{n}"
        expected[conversation] = _sentences(random_, random_.randint(1, 12))
        text = " ".join(expected[conversation])
        pieces: list[str] = []
        while text:
            size = random_.randint(1, 7)
            pieces.append(text[:size])
            text = text[size:]
        for index, piece in enumerate(pieces):
            event = _delta(conversation, index, piece, done=index == len(pieces) - 1)
            arriving.append((index + random_.uniform(0, 8), event))
            if random_.random() < 0.1:
                arriving.append((index + random_.uniform(0, 30), event))
    arriving.sort(key=lambda item: item[0])
    opened = await open_handler("llm_sentences")

    heard: dict[str, list[dict[str, Any]]] = {}
    for _, event in arriving:
        for result in opened.results(event):
            assert result.key == result.value["conversation"]
            heard.setdefault(result.key, []).append(result.value)

    for conversation, sentences in expected.items():
        values = heard[conversation]
        assert [value["text"] for value in values] == sentences
        assert [value["sentence"] for value in values] == list(range(len(sentences)))
        assert [value["final"] for value in values] == [False] * (len(sentences) - 1) + [True]
        assert not any(value["partial"] for value in values)


async def test_silence_flushes_what_there_is_as_a_partial_sentence(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("llm_sentences", flush_after_s=5)
    opened.values(_delta("c", 0, "Done. Not yet"))
    await asyncio.sleep(4.9)
    assert opened.tick() == []

    await asyncio.sleep(0.1)
    (partial,) = opened.tick()

    assert (partial["text"], partial["partial"], partial["sentence"]) == ("Not yet", True, 1)
    assert opened.tick() == []


async def test_a_delta_that_never_comes_does_not_hold_up_the_rest_for_ever(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("llm_sentences", flush_after_s=5)
    opened.values(_delta("c", 0, "One. "))
    opened.values(_delta("c", 2, "Three.", done=True))
    await asyncio.sleep(5)

    (rest,) = opened.tick()

    assert (rest["text"], rest["final"]) == ("Three.", True)
    assert opened.values(_delta("c", 1, "Two.")) == []


async def test_moderation_masks_flags_and_leaves_a_gap_where_it_drops(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler(
        "llm_sentences",
        rules=[
            {"pattern": r"\d+", "name": "digits"},
            {"pattern": "forbidden", "action": "drop"},
        ],
    )

    values = opened.values(_delta("c", 0, "Pin 1234. Forbidden. Fine.", done=True))

    assert [(value["text"], value["flags"]) for value in values] == [
        ("Pin ***.", ["digits"]),
        (None, ["forbidden"]),
        ("Fine.", []),
    ]


async def test_a_sentence_without_an_end_is_cut(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_sentences", max_chars=10)

    values = opened.values(_delta("c", 0, "x" * 25, done=True))

    assert [len(value["text"]) for value in values] == [10, 10, 5]


class Moody:
    """A moderation hook that sometimes fails."""

    def __init__(self) -> None:
        self.fails = False

    def __call__(self, sentence: str) -> str:
        if self.fails:
            raise RuntimeError("not now")
        return sentence


moody = Moody()


async def test_a_hook_that_raises_leaves_the_conversation_as_it_was(
    open_handler: OpenHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await open_handler("llm_sentences", hook=f"{__name__}:moody")
    with monkeypatch.context() as patch:
        patch.setattr(moody, "fails", True)
        with pytest.raises(RuntimeError):
            opened.values(_delta("c", 0, "One. Two"), offset=7)

    assert [v["text"] for v in opened.values(_delta("c", 0, "One. Two"), offset=7)] == ["One."]


async def test_a_hook_that_raises_in_a_flush_holds_up_its_own_conversation_only(
    open_handler: OpenHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = {"So bad"}

    def away(sentence: str) -> str:
        if sentence in refused:
            raise RuntimeError("not now")
        return sentence

    monkeypatch.setitem(globals(), "moody", away)
    opened = await open_handler("llm_sentences", hook=f"{__name__}:moody", flush_after_s=5)
    for conversation, text in (("a", "Good"), ("b", "So bad"), ("c", "Better")):
        assert opened.values(_delta(conversation, 0, text)) == []
    await asyncio.sleep(5)

    assert [value["text"] for value in opened.tick()] == ["Good", "Better"]
    refused.clear()
    assert opened.tick() == []
    await asyncio.sleep(5)

    assert [(value["sentence"], value["text"]) for value in opened.tick()] == [(0, "So bad")]


async def test_an_event_that_comes_again_publishes_its_sentences_again(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("llm_sentences")
    first = opened.results(_delta("c", 0, "One. Two"), offset=7)

    again = opened.results(_delta("c", 0, "One. Two"), offset=7)

    assert [r.value for r in again] == [r.value for r in first] != []
    assert opened.values(_delta("c", 0, "One. Two"), offset=8) == []


async def test_a_restored_partition_flushes_its_open_sentences(open_handler: OpenHandler) -> None:
    opened = await open_handler("llm_sentences", flush_after_s=5)
    opened.values(_delta("c", 0, "Open"))
    await opened.bound.revoked("input", 0)
    await opened.bound.assigned("input", 0)
    await asyncio.sleep(5)

    assert [value["text"] for value in opened.tick()] == ["Open"]


def _stream(seed: int, conversations: int) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """Deltas of many conversations, disordered and some of them twice, and their sentences."""
    random_ = random.Random(seed)
    expected: dict[str, list[str]] = {}
    arriving: list[tuple[float, dict[str, Any]]] = []
    for n in range(conversations):
        expected[f"c{n}"] = _sentences(random_, random_.randint(1, 6))
        pieces = re.findall(r".{1,5}", " ".join(expected[f"c{n}"]))
        for index, piece in enumerate(pieces):
            event = _delta(f"c{n}", index, piece, done=index == len(pieces) - 1)
            copies = random_.choice([1, 1, 1, 2])
            arriving.extend((index + random_.uniform(0, 8), event) for _ in range(copies))
    arriving.sort(key=lambda item: item[0])
    return [event for _, event in arriving], expected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("own_key", [True, False], ids=["keyed by conversation", "keyed otherwise"])
async def test_a_run_of_deltas_says_what_they_say_one_by_one(
    open_handler: OpenHandler, seed: int, *, own_key: bool
) -> None:
    events, _ = _stream(seed, 8)
    records = [
        SourceRecord(b"", key=event["conversation"].encode() if own_key else b"x", offset=offset)
        for offset, event in enumerate(events)
    ]
    again = random.Random(seed).sample(range(len(events)), 20)  # a rebalance brings some back
    order = sorted([*range(len(events)), *again])
    together, singly = await open_handler("llm_sentences"), await open_handler("llm_sentences")
    told: dict[str, list[Any]] = {"together": [], "singly": []}

    for start in range(0, len(order), 50):
        some = order[start : start + 50]
        batch = RecordBatch("input", 0, [records[n] for n in some], next_offset=some[-1] + 1)
        run = EventBatch(batch, [events[n] for n in some])
        wanted = range(0, len(some), 1 + start % 2)  # a filter leaves some out
        for index, said in together.bound.handle_many(run, wanted):
            told["together"] += _addressed(index, said, batch.records[index].key)
        for index in wanted:
            record = batch.records[index]
            event = Event(run.data[index], key=record.key, batch=batch, index=index)
            told["singly"] += _addressed(index, singly.bound.call(event), record.key)

    assert told["together"] == told["singly"] != []
    place = Partition("input", 0)
    states = [dict(o.bound._instance._state.items(place)) for o in (together, singly)]
    assert states[0] == states[1]


def _addressed(index: int, said: Any, key: bytes | None) -> list[Any]:
    """Place, key and value of results as they would be published."""
    return [
        (index, result.key.encode() if isinstance(result.key, str) else key, result.value)
        for result in to_results(said)
    ]


@pytest.mark.parametrize("delivery", ["at_least_once", "exactly_once"])
@pytest.mark.parametrize("cut_s", [0.0, 0.01, 0.06, 0.11, 0.2])
async def test_a_kill_in_the_middle_of_sentences_loses_none_of_their_text(
    delivery: str, cut_s: float
) -> None:
    events, expected = _stream(3, 40)
    document = pipeline_of("llm_sentences", options={"flush_after_s": 60})
    document["pipelines"]["test"]["delivery"] = delivery
    broker = MemoryBroker()
    async with Harness(document, broker=broker, partitions=2) as first:
        for event in events[: len(events) // 2]:
            await first.send(event, key=event["conversation"])
        await first.advance(cut_s)
        await first.kill()

    async with Harness(document, broker=broker, partitions=2) as second:
        for event in events[len(events) // 2 :]:
            await second.send(event, key=event["conversation"])
        await second.settle()
        outputs = second.outputs()

    heard: dict[tuple[str, int], str] = {}
    for value in outputs:
        place = (value["conversation"], value["sentence"])
        assert heard.setdefault(place, value["text"]) == value["text"]
    assert heard == {
        (name, number): text
        for name, sentences in expected.items()
        for number, text in enumerate(sentences)
    }
    if delivery == "exactly_once":
        assert len(outputs) == len(heard)


async def test_a_delta_that_is_none_costs_its_run_nothing_but_itself() -> None:
    events, expected = _stream(4, 5)
    async with Harness(pipeline_of("llm_sentences")) as service:
        for n, event in enumerate(events):
            await service.send(event, key=event["conversation"])
            if n == len(events) // 2:
                await service.send(_delta("c0", -1, "nonsense"))
        await service.settle()
        outputs, letters = service.outputs(), service.dead_letters()

    heard = {name: [v["text"] for v in outputs if v["conversation"] == name] for name in expected}
    assert heard == expected
    assert [letter.code for letter in letters] == ["schema"]
    assert "index" in letters[0].detail


async def test_what_silence_flushes_goes_with_the_partition_of_its_state(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("llm_sentences", flush_after_s=5)
    opened.values(_delta("c", 0, "Open"))
    await asyncio.sleep(5)

    (flushed,) = opened.bound.tick(asyncio.get_running_loop().time())

    assert (flushed.place, flushed.key) == (Partition("input", 0), "c")


async def test_too_many_deltas_ahead_of_a_missing_one_are_refused(
    open_handler: OpenHandler,
) -> None:
    opened = await open_handler("llm_sentences", max_ahead=2)
    opened.values(_delta("c", 1, "b"))
    opened.values(_delta("c", 2, "c"))

    with pytest.raises(PermanentError, match="2 deltas wait for delta 0"):
        opened.values(_delta("c", 3, "d"))
    assert [value["text"] for value in opened.values(_delta("c", 0, "a. "))] == ["a."]


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"conversation": None}, "conversation"),
        ({"index": "1"}, "index"),
        ({"index": True}, "index"),
        ({"delta": 5}, "delta"),
    ],
    ids=["no conversation", "index as text", "index as boolean", "delta no text"],
)
async def test_what_is_no_delta_is_a_schema_error(
    open_handler: OpenHandler, change: dict[str, Any], path: str
) -> None:
    opened = await open_handler("llm_sentences")

    with pytest.raises(SchemaError) as caught:
        opened.values({**_delta("c", 0, "x"), **change})

    assert caught.value.path == path


def test_a_hook_that_cannot_be_imported_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        load_handler("llm_sentences").bind({"hook": "nowhere_at_all:x"})


@pytest.mark.parametrize("ttl_s", [0.5, 2])
def test_a_conversation_cannot_be_forgotten_before_its_flush(ttl_s: float) -> None:
    with pytest.raises(ConfigurationError, match="would forget a conversation"):
        load_handler("llm_sentences").bind({"flush_after_s": 2, "ttl_s": ttl_s})
    load_handler("llm_sentences").bind({"flush_after_s": 2, "ttl_s": 2.5})

"""Compares sentences with an independent splitter on the whole text of each conversation."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.errors import ConfigurationError, PermanentError, SchemaError
from service.handlers import load_handler

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


async def test_a_hook_that_raises_leaves_the_conversation_as_it_was(
    open_handler: OpenHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await open_handler("llm_sentences", hook="builtins:str")
    moderator = opened.bound._instance._moderator
    with monkeypatch.context() as patch:
        patch.setattr(moderator, "_hook", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            opened.values(_delta("c", 0, "One. Two"), offset=7)

    assert [v["text"] for v in opened.values(_delta("c", 0, "One. Two"), offset=7)] == ["One."]


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

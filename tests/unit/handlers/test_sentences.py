"""The text of one conversation, delta by delta, against all of it at once."""
# ruff: noqa: RUF001 -- that the signs look like others is the point

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.errors import PermanentError
from service.handlers.moderation import Moderator
from service.handlers.sentences import _END, _NUMBERED, Conversation, Cutter, Sentence, begin

_SIGNS = st.sampled_from([
    "a", "b ", " ", ".", "!", "…", '"', ")", "\n", "。", "\u00a0", "3.1", "", "।", "؟", "»", "“",
    "”", "」", "1", "1. ", "*",
])  # fmt: skip


def _cutter(max_chars: int = 2000, max_ahead: int = 1000) -> Cutter:
    return Cutter(Moderator(()), max_chars=max_chars, max_ahead=max_ahead)


def _texts(sentences: Sequence[Sentence] | None) -> list[Any]:
    return [text for _, text, _, _, _ in sentences or () if text != ""]


@given(st.lists(_SIGNS, max_size=30))
@example(["।", "”", "」", "a"])  # what closes comes in two deltas, and one of both kinds first
def test_how_a_text_is_cut_into_deltas_does_not_change_its_sentences(deltas: list[str]) -> None:
    cutter = _cutter()
    whole, piecewise = begin(), begin()
    expected = _texts(cutter.add(whole, 0, "".join(deltas), done=True))

    told: list[Any] = []
    for index, delta in enumerate([*deltas, ""]):
        told += _texts(cutter.add(piecewise, index, delta, done=index == len(deltas)))

    assert told == expected
    assert piecewise["text"] == whole["text"] == ""


@given(st.lists(_SIGNS, max_size=30), st.booleans())
def test_the_last_sentence_and_no_other_is_final_however_the_end_comes(
    deltas: list[str],
    flushed: bool,  # noqa: FBT001
) -> None:
    cutter = _cutter()
    conversation = begin()

    told: list[Sentence] = []
    for index, delta in enumerate(deltas):
        told += cutter.add(conversation, index, delta, done=False) or ()
    if flushed:
        told += cutter.flush(conversation)
    told += cutter.add(conversation, len(deltas), "", done=True) or ()

    assert [final for _, _, _, final, _ in told] == [False] * (len(told) - 1) + [True]
    assert [number for number, *_ in told] == list(range(len(told)))


@given(st.lists(_SIGNS, max_size=30), st.integers(1, 12))
def test_sentences_are_never_too_long_and_hold_the_whole_text(
    deltas: list[str], max_chars: int
) -> None:
    cutter = _cutter(max_chars)
    conversation = begin()

    told: list[str] = []
    for index, delta in enumerate([*deltas, ""]):
        told += _texts(cutter.add(conversation, index, delta, done=index == len(deltas)))

    assert all(len(text) <= max_chars for text in told)
    assert "".join("".join(told).split()) == "".join("".join(deltas).split())


@given(st.lists(_SIGNS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_deltas_does_not_change_the_sentences(deltas: list[str], random: Any) -> None:
    cutter = _cutter()
    ordered, shuffled = begin(), begin()
    numbered = list(enumerate(deltas))
    expected = [
        text
        for index, delta in numbered
        for text in _texts(cutter.add(ordered, index, delta, done=False))
    ]

    random.shuffle(numbered)
    told = [
        text
        for index, delta in numbered
        for text in _texts(cutter.add(shuffled, index, delta, done=False))
    ]

    assert told == expected
    assert shuffled["text"].strip() == ordered["text"].strip()


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("यह एक है। यह दो है।", ["यह एक है।", "यह दो है।"]),
        ("رام گھر گیا۔ کیا حال ہے؟ ٹھیک", ["رام گھر گیا۔", "کیا حال ہے؟", "ٹھیک"]),
        ("„Gut.“ Er ging. »Ja.« Sie blieb.", ["„Gut.“", "Er ging.", "»Ja.«", "Sie blieb."]),
        ("«\u00a0Bon.\u00a0» Il part.\u00a0Fin", ["«\u00a0Bon.\u00a0»", "Il part.", "Fin"]),
        ("他说：“好。”走了。“再见！”", ["他说：“好。”", "走了。", "“再见！”"]),
        ("「終わり。」と言った。", ["「終わり。」", "と言った。"]),
        ("真的？！是。", ["真的？！", "是。"]),
        ('"हाँ।" वह। "ना" कहा', ['"हाँ।"', "वह।", '"ना" कहा']),
        ("**Bold.** Then _soft._ End", ["**Bold.**", "Then _soft._", "End"]),
        ("1. Wash. 2. Cook.\n3. Eat", ["1. Wash.", "2. Cook.", "3. Eat"]),
        ("1.\n2. x", ["1.", "2. x"]),
        ("It is 3. Then 4.5 of 10. End", ["It is 3.", "Then 4.5 of 10.", "End"]),
    ],
    ids=["Hindi", "Urdu", "German", "French", "Chinese", "Japanese", "two marks", "ASCII quotes",
         "emphasis", "a list", "numbers alone", "numbers within"],
)  # fmt: skip
def test_sentences_end_where_their_language_ends_them(text: str, sentences: list[str]) -> None:
    assert _texts(_cutter().add(begin(), 0, text, done=True)) == sentences


def test_a_shallow_copy_keeps_what_was() -> None:
    cutter = _cutter()
    conversation = begin()
    cutter.add(conversation, 2, "c", done=False)
    before: Conversation = conversation.copy()

    cutter.add(conversation, 1, "b", done=False)
    cutter.add(conversation, 0, "a", done=False)

    assert before == {**begin(), "ahead": {"2": ["c", False]}}
    assert (conversation["text"], conversation["ahead"]) == ("abc", {})


def test_a_delta_that_waits_already_is_told_apart_from_one_that_completes_nothing() -> None:
    cutter = _cutter()
    conversation = begin()

    assert cutter.add(conversation, 1, "b", done=False) == []
    assert cutter.add(conversation, 1, "b", done=False) is None


def test_more_than_may_wait_is_refused_and_changes_nothing() -> None:
    cutter = _cutter(max_ahead=1)
    conversation = begin()
    cutter.add(conversation, 1, "b", done=False)
    before = conversation.copy()

    with pytest.raises(PermanentError, match="1 deltas wait for delta 0"):
        cutter.add(conversation, 2, "c", done=False)
    assert conversation == before


def test_a_flush_goes_on_behind_a_missing_delta_and_empties_the_text() -> None:
    cutter = _cutter()
    conversation = begin()
    cutter.add(conversation, 0, "One", done=False)
    cutter.add(conversation, 2, ". Three", done=False)

    flushed = cutter.flush(conversation)

    assert [(text, partial) for _, text, partial, _, _ in flushed] == [
        ("One.", False),
        ("Three", True),
    ]
    assert (conversation["next"], conversation["text"], conversation["ahead"]) == (3, "", {})
    assert cutter.flush(conversation) == []


@given(st.lists(_SIGNS, max_size=30), st.integers(1, 7), st.booleans())
def test_a_text_is_cut_as_its_front_is_again_and_again(
    signs: list[str],
    limit: int,
    done: bool,  # noqa: FBT001 -- drawn
) -> None:
    text = "".join(signs)
    cutter = _cutter(limit)
    conversation = begin()

    at_once = _texts(cutter.add(conversation, 0, text, done=done))

    slow, rest = _slow_cut(text, limit, final=done)
    assert at_once == slow
    assert conversation["text"] == rest


def _slow_cut(text: str, limit: int, *, final: bool) -> tuple[list[str], str]:
    """The rule, applied to all that is left after each sentence."""
    sentences: list[str] = []
    while True:
        searched = 0
        while (end := _END.search(text, searched)) and _NUMBERED.fullmatch(text, 0, end.end()):
            searched = end.end()
        if end is not None and end.end() <= limit:
            at = end.end()
        elif len(text) > limit:
            at = limit
        else:
            break
        sentences += [text[:at].strip()]
        text = text[at:]
    if final or not text.strip():
        sentences += [text.strip()]
        text = ""
    return [sentence for sentence in sentences if sentence], text


def test_a_long_text_without_an_end_takes_time_in_proportion_to_its_length() -> None:
    copied = 0

    class Counted(str):
        __slots__ = ()

        def __getitem__(self, place: Any) -> str:
            nonlocal copied
            part = super().__getitem__(place)
            copied += len(part)
            return Counted(part)

    conversation = begin()
    text = Counted("a" * 100_000)

    sentences = _cutter(max_chars=100)._cut(conversation, text, final=False)

    assert len(sentences) == 999
    assert copied <= 2 * len(text)

import asyncio
import itertools
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import aiohttp
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyHttpUrl
from structlog.testing import capture_logs

from service.channels import Overflow, channel
from service.consumers.llm import LlmSource, Prompt, _prompts
from service.consumers.llm_answer import (
    LINE_MAX_BYTES,
    Piece,
    ServerSentEvents,
    StreamBrokenError,
)
from service.events import RecordBatch
from service.settings import LlmSourceSettings

_STREAM = (
    b': comment\r\ndata: {"a": 1}\r\n\r\nevent: x\ndata: one\ndata:two\n\n\n\ndata: [DONE]\n\n'
)
_EVENTS = [b'{"a": 1}', b"one\ntwo", b"[DONE]"]


@given(st.lists(st.integers(0, len(_STREAM)), max_size=12))
def test_events_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    parser = ServerSentEvents()
    places = [0, *sorted(cuts), len(_STREAM)]

    events = [
        event
        for start, end in itertools.pairwise(places)
        for event in parser.feed(_STREAM[start:end])
    ]

    assert events == _EVENTS


def test_an_event_without_its_end_is_not_one_yet() -> None:
    parser = ServerSentEvents()

    assert parser.feed(b"data: half") == []
    assert parser.feed(b" and half\n\n") == [b"half and half"]


def test_a_line_without_an_end_is_given_up() -> None:
    with pytest.raises(StreamBrokenError):
        ServerSentEvents().feed(b"x" * (LINE_MAX_BYTES + 1))


def test_an_event_of_lines_without_an_end_is_given_up() -> None:
    parser = ServerSentEvents()
    half = b"data:" + b"x" * (LINE_MAX_BYTES // 2) + b"\n"

    parser.feed(half)
    with pytest.raises(StreamBrokenError):
        parser.feed(half + half)


def test_a_line_that_is_no_prompt_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "prompts.jsonl"
    file.write_text(
        '{"id": 1, "prompt": "a"}\nnonsense\n{"id": 2}\n[3]\n{"id": 4, "prompt": "b"}\n'
    )
    settings = LlmSourceSettings(url=AnyHttpUrl("http://127.0.0.1:9"), model="m", prompts_file=file)

    with capture_logs() as logs:
        prompts = _prompts(settings)

    assert [prompt.id for prompt in prompts] == ["1", "4"]
    assert [entry["where"] for entry in logs] == [f"{file}:{number}" for number in (2, 3, 4)]


class Saying(LlmSource):
    """Gets one answer of three pieces."""

    async def _pieces(
        self, prompt: Prompt, session: aiohttp.ClientSession
    ) -> AsyncGenerator[Sequence[Piece]]:
        del session
        for word in prompt.text.split():
            yield [Piece(word, done=False)]
        yield [Piece("", done=True)]


async def test_answers_of_two_runs_have_conversations_of_their_own() -> None:
    sender, inbox = channel[RecordBatch](100)
    settings = LlmSourceSettings(url=AnyHttpUrl("http://127.0.0.1:9"), model="m", prompts=("a b",))

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            runs = [Saying("model", settings) for _ in range(2)]
            for source in runs:
                tasks.create_task(source.run(sender.clone()))
            batches = [await inbox.recv() for _ in range(6)]
            for source in runs:
                source.stop_intake()

    answers: dict[str, list[str]] = {}
    for event in (orjson.loads(r.value or b"") for batch in batches for r in batch.records):
        answers.setdefault(event["conversation"], []).append(event["delta"])
    assert list(answers.values()) == [["a", "b", ""]] * 2
    assert {conversation.partition("/")[0] for conversation in answers} == {"prompt-1"}


@pytest.mark.parametrize("overflow", list(Overflow))
async def test_a_full_channel_makes_the_answer_wait_whatever_it_does_to_others(
    overflow: Overflow,
) -> None:
    sender, inbox = channel[RecordBatch](1, overflow=overflow)
    settings = LlmSourceSettings(
        url=AnyHttpUrl("http://127.0.0.1:9"), model="m", prompts=("one two",)
    )

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            source = Saying("model", settings)
            tasks.create_task(source.run(sender))
            await asyncio.sleep(1)
            batches = [await inbox.recv() for _ in range(3)]
            source.stop_intake()

    events = [orjson.loads(record.value or b"") for batch in batches for record in batch.records]
    assert [event["delta"] for event in events] == ["one", "two", ""]


class Busy(LlmSource):
    """Its server is busy once, and names the wait."""

    def __init__(self, settings: LlmSourceSettings, retry_after_s: float | None) -> None:
        super().__init__("model", settings)
        self._retry_after_s = retry_after_s
        self._asked = False

    async def _pieces(
        self, prompt: Prompt, session: aiohttp.ClientSession
    ) -> AsyncGenerator[Sequence[Piece]]:
        del prompt, session
        if not self._asked:
            self._asked = True
            raise StreamBrokenError("status 429", retry_after_s=self._retry_after_s)
        yield [Piece("", done=True)]


@pytest.mark.parametrize(
    ("retry_after_s", "least_s", "most_s"),
    [(60.0, 60, 60), (1e9, 300, 300), (0.0, 0.25, 0.5), (None, 0.25, 0.5)],
    ids=["as asked", "never for ever", "nothing", "not asked"],
)
async def test_a_busy_server_is_asked_again_when_it_said(
    retry_after_s: float | None, least_s: float, most_s: float
) -> None:
    sender, inbox = channel[RecordBatch](10)
    settings = LlmSourceSettings(url=AnyHttpUrl("http://127.0.0.1:9"), model="m", prompts=("a",))
    loop = asyncio.get_running_loop()
    began_s = loop.time()

    with sender, inbox:
        async with asyncio.TaskGroup() as tasks:
            source = Busy(settings, retry_after_s)
            tasks.create_task(source.run(sender))
            await inbox.recv()
            source.stop_intake()

    assert least_s - 0.001 <= loop.time() - began_s <= most_s + 0.001

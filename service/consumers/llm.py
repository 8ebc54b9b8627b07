"""Tokens of an OpenAI-compatible server as events, while it produces them.

Each prompt is streamed once per run of the service; its events are
``{"conversation", "index", "delta", "done"}``, which is what ``llm_sentences`` reads.  A model says
something else each time, and half of one answer is never continued by another: conversations are
called ``id/run``, with a run's own random digits, and that of a stream which broke and is asked for
again ``id/run/2``, ``id/run/3``, ….  While the pipeline is full nothing is read, so the server
waits with us.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
import structlog

from service.channels import Sender
from service.clock import wall_clock_ms
from service.consumers.llm_answer import END, Completion, Piece, ServerSentEvents, StreamBrokenError
from service.consumers.origins import new_origin
from service.consumers.room import send_when_there_is_room
from service.delivery.backoff import Backoff
from service.delivery.retry import RETRY_AFTER_MAX_S
from service.errors import ChannelClosedError, ServiceError
from service.events import RecordBatch, SourceRecord
from service.retry_after import retry_after_s
from service.settings import LlmSourceSettings

_log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S: Final = 10.0
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0

_TRY_AGAIN: Final = frozenset({401, 408, 429, 500, 502, 503, 504})
"""The first says nothing about the prompt: the key has expired, and may be replaced soon."""

_SUCCESS: Final = 200


class Prompt(NamedTuple):
    """What to ask, and how the conversation id of the answer begins."""

    id: str
    text: str


class RefusedError(ServiceError):
    """The server refuses the prompt; asking again cannot help."""


class LlmSource:
    """A source of one pipeline.

    Args:
        name: The source's name; stands where Kafka's records have their topic.
        settings: Whom to ask what.
    """

    def __init__(self, name: str, settings: LlmSourceSettings) -> None:
        self.name = name
        self._settings = settings
        self._partition, self._offset = new_origin()
        self._run = f"{self._partition:08x}"
        self._stopped = asyncio.Event()
        self.refused: list[str] = []
        """Ids of the prompts that the server refused."""

    async def run(self, inbox: Sender[RecordBatch]) -> None:
        """See :meth:`service.consumers.base.Source.run`; waits for the stop when all is said."""
        with inbox:
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(self._ask_all(inbox), name=self.name)
                await self._stopped.wait()
                asking.cancel()

    def stop_intake(self) -> None:
        """See :meth:`service.consumers.base.Source.stop_intake`; running answers break off."""
        self._stopped.set()

    async def close(self, deadline_s: float) -> None:
        """See :meth:`service.consumers.base.Source.close`."""
        del deadline_s  # nothing is committed

    async def _ask_all(self, inbox: Sender[RecordBatch]) -> None:
        settings = self._settings
        prompts = iter(await asyncio.to_thread(_prompts, settings))
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=settings.idle_timeout_s
        )
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(settings.concurrency):
                tasks.create_task(self._work(prompts, session, inbox))
        _log.info("every prompt is answered", source=self.name, refused=len(self.refused))

    async def _work(
        self, prompts: Iterator[Prompt], session: aiohttp.ClientSession, inbox: Sender[RecordBatch]
    ) -> None:
        for prompt in prompts:
            try:
                await self._answer(prompt, session, inbox)
            except ChannelClosedError:
                return
            except RefusedError as error:
                self.refused.append(prompt.id)
                _log.error("prompt refused", source=self.name, id=prompt.id, error=str(error))

    async def _answer(
        self, prompt: Prompt, session: aiohttp.ClientSession, inbox: Sender[RecordBatch]
    ) -> None:
        """Stream one answer to its end, from its start again if it breaks off."""
        backoff = Backoff(initial_s=RETRY_FIRST_S, max_s=RETRY_MAX_S)
        attempt = 1
        while True:
            conversation = f"{prompt.id}/{self._run}" + (f"/{attempt}" if attempt > 1 else "")
            index = 0
            try:
                async with aclosing(self._pieces(prompt, session)) as answer:
                    async for pieces in answer:
                        batch = self._batch(conversation, index, pieces)
                        await send_when_there_is_room(inbox, batch)
                        index += len(pieces)
            except (StreamBrokenError, aiohttp.ClientError, OSError, ValueError) as error:
                delay_s = max(backoff.next_s(), _asked_s(error))
                _log.warning(
                    "answer broken off",
                    source=self.name,
                    id=conversation,
                    reason=f"{type(error).__name__}: {error}",
                    delay_s=round(delay_s, 3),
                )
                await asyncio.sleep(delay_s)
                attempt += index > 0  # nothing was said under this id: use it again
            else:
                return

    async def _pieces(
        self, prompt: Prompt, session: aiohttp.ClientSession
    ) -> AsyncGenerator[Sequence[Piece]]:
        """The answer as it comes, in chunks; the last piece is done.

        Raises:
            StreamBrokenError: If it ends before its end.
            RefusedError: If the server does not want the prompt.
            OSError: If the key cannot be read.
            ValueError: If it is none that a header can hold.
        """
        body = {
            **self._settings.parameters,
            "model": self._settings.model,
            "messages": [{"role": "user", "content": prompt.text}],
            "stream": True,
        }
        headers = await asyncio.to_thread(_headers, self._settings)
        url = f"{str(self._settings.url).rstrip('/')}/chat/completions"
        async with session.post(url, data=orjson.dumps(body), headers=headers) as answer:
            if answer.status in _TRY_AGAIN:
                raise StreamBrokenError(
                    f"status {answer.status}", retry_after_s=retry_after_s(answer.headers)
                )
            if answer.status != _SUCCESS:
                raise RefusedError(f"status {answer.status}")
            parser, completion, heard = ServerSentEvents(), Completion(), False
            try:
                async for chunk in answer.content.iter_any():
                    events = parser.feed(chunk)
                    heard |= bool(events)
                    pieces = list(completion.pieces(events))
                    if pieces:
                        yield pieces
                    if pieces and pieces[-1].done:
                        return
            except (aiohttp.ClientError, TimeoutError):
                if not completion.finished:
                    raise
            if completion.finished:
                yield [END]
                return
            if not heard and answer.content_type == "application/json":
                # the whole answer at once, and paid for: so would be the next one
                raise RefusedError("the server answers in one document, not in a stream")
        raise StreamBrokenError("the stream ended before the answer")

    def _batch(self, conversation: str, index: int, pieces: Sequence[Piece]) -> RecordBatch:
        key = conversation.encode()
        stamp = wall_clock_ms()
        records: list[SourceRecord] = []
        for place, piece in enumerate(pieces, index):
            value = orjson.dumps(
                {
                    "conversation": conversation,
                    "index": place,
                    "delta": piece.delta,
                    "done": piece.done,
                }
            )
            records.append(SourceRecord(value, key=key, offset=self._offset, timestamp=stamp))
            self._offset += 1
        return RecordBatch(
            self.name,
            self._partition,
            records,
            next_offset=self._offset,
            size_bytes=sum(len(record.value or b"") for record in records),
            received_at_s=asyncio.get_running_loop().time(),
        )


def _asked_s(error: Exception) -> float:
    """The least wait that the server asks for, bounded; 0 if it asks for none."""
    asked_s = error.retry_after_s if isinstance(error, StreamBrokenError) else None
    return min(asked_s or 0.0, RETRY_AFTER_MAX_S)


def _headers(settings: LlmSourceSettings) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    bearer = settings.bearer()  # may be another one by now
    return headers if bearer is None else {**headers, "Authorization": f"Bearer {bearer}"}


def _prompts(settings: LlmSourceSettings) -> list[Prompt]:
    """What to ask, from both places; prompts in the settings are called ``prompt-1`` and so on."""
    prompts = [Prompt(f"prompt-{n}", text) for n, text in enumerate(settings.prompts, 1)]
    if settings.prompts_file is not None:
        lines = Path(settings.prompts_file).read_bytes().splitlines()
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                item: Any = orjson.loads(line)
                prompts.append(Prompt(str(item["id"]), str(item["prompt"])))
            except (orjson.JSONDecodeError, LookupError, TypeError):
                # one line of a file is no reason to end what else this process does
                where = f"{settings.prompts_file}:{number}"
                _log.error("prompt skipped", where=where, reason="no {id, prompt}")
    return prompts

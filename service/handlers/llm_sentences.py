"""Token deltas of language models into whole, moderated sentences, in order per conversation.

Events are deltas (``{"conversation", "index", "delta", "done"?}``), out of order and some of them
twice; ``index`` counts them from 0.  A sentence goes out when its end is seen, when the
conversation is done, or when nothing has come for a while: then what there is goes out as a
partial one, marked as such.
"""

import asyncio
import re
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, field_validator

from service.errors import PermanentError, SchemaError
from service.events import Event, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.due import Timers
from service.handlers.moderation import Moderator, Rule, load_hook
from service.handlers.spec import handler
from service.handlers.state import KeyedState, Partition

_END: Final = re.compile(r"(?:[.!?\u2026]+[\"'\u201d\u2019)\]]*(?=\s)|[\u3002\uff01\uff1f]|\n)\s*")
"""End of a sentence: closing marks before white space, an East Asian full stop, a line's end."""


class LlmSentencesOptions(BaseModel):
    """Options of ``llm_sentences``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation: fields.Path = Field(default="conversation", description="Field of its id.")
    index: fields.Path = Field(default="index", description="Field of the delta's number, from 0.")
    delta: fields.Path = Field(default="delta", description="Field of the text.")
    done: fields.Path = Field(default="done", description="Field that is true in the last delta.")
    rules: tuple[Rule, ...] = Field(default=(), description="Moderation; see `Rule`.")
    hook: str | None = Field(default=None, description="`package.module:callable` for moderation.")
    flush_after_s: float = Field(default=5.0, gt=0, description="Silence before a partial flush.")
    max_chars: int = Field(default=2000, ge=1, description="A sentence is cut at this length.")
    max_ahead: int = Field(default=1000, ge=1, description="Most deltas held for a missing one.")
    ttl_s: float = Field(default=3600, gt=0, description="Forget a silent conversation after.")

    @field_validator("hook")
    @classmethod
    def _importable(cls, hook: str | None) -> str | None:
        if hook is not None:
            load_hook(hook)
        return hook


@handler("llm_sentences", options=LlmSentencesOptions)
class LlmSentences:
    """``{"conversation","sentence","text","partial","final","flags"}`` under its id.

    ``sentence`` counts from 0 without holes; a sentence that moderation drops is published with a
    ``null`` text, so that a reader sees that nothing is missing.
    """

    def __init__(self, options: LlmSentencesOptions) -> None:
        self._options = options
        self._conversation = fields.text(options.conversation)
        self._index = fields.optional(options.index)
        self._delta = fields.optional(options.delta)
        self._done = fields.optional(options.done)
        hook = None if options.hook is None else load_hook(options.hook)
        self._moderator = Moderator(options.rules, hook)
        self._timers = Timers(options.flush_after_s)
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state("conversations", ttl_s=self._options.ttl_s)

    async def assigned(self, topic: str, partition: int) -> None:
        """Give the open sentences of a restored partition their whole patience again."""
        place = Partition(topic, partition)
        now_s = asyncio.get_running_loop().time()
        for conversation, state in self._state.items(place):
            if state["text"] or state["ahead"]:
                self._timers.start(place, conversation, now_s)

    async def revoked(self, topic: str, partition: int) -> None:
        """Somebody else watches these conversations now."""
        self._timers.forget(topic, partition)

    def __call__(self, event: Event) -> list[Result] | None:
        """The sentences that this delta completes."""
        data = event.data
        conversation = self._conversation(data)
        index, delta = self._index(data), self._delta(data)
        if type(index) is not int or index < 0:
            raise SchemaError(self._options.index, "not a whole number from 0")
        if not isinstance(delta, str):
            raise SchemaError(self._options.delta, "missing or not text")
        known: dict[str, Any] | None = self._state.get(event, conversation)
        if known is None:
            known = {"next": 0, "text": "", "ahead": {}, "sentence": 0, "last": None}
        # A copy, so that a hook that raises leaves what is remembered as it was.
        state: dict[str, Any] = {**known, "ahead": dict(known["ahead"])}
        last = state["last"]
        if last is not None and last[0] == event.record_id:  # it came again: so may its sentences
            return self._published(conversation, last[1]) or None  # have been lost
        ahead: dict[str, list[Any]] = state["ahead"]
        if index < state["next"] or str(index) in ahead:
            return None
        if index > state["next"] and len(ahead) >= self._options.max_ahead:
            raise PermanentError(f"{len(ahead)} deltas wait for delta {state['next']}")
        ahead[str(index)] = [delta, self._done(data) is True]
        final = _take_ready(state)
        sentences = self._cut(state, final=final)
        if sentences:
            state["last"] = [event.record_id, sentences]
        self._remember(event, conversation, state, final=final)
        return self._published(conversation, sentences) if sentences else None

    def tick(self, now_s: float) -> list[Result]:
        """What silent conversations have said so far, as partial sentences."""
        results: list[Result] = []
        for place, conversation in self._timers.due(now_s):
            state: dict[str, Any] | None = self._state.get(place, conversation)
            if state is None:
                continue
            if state["ahead"]:  # the missing delta will not come: go on behind it
                state["next"] = min(map(int, state["ahead"]))
            final = _take_ready(state)
            sentences = self._cut(state, final=final)
            if state["text"]:
                sentences.append(self._judged(state, state["text"], partial=True, final=False))
                state["text"] = ""
            self._remember(place, conversation, state, final=final)
            results.extend(self._published(conversation, sentences))
        return results

    def _remember(
        self, place: Event | Partition, conversation: str, state: dict[str, Any], *, final: bool
    ) -> None:
        self._state.put(place, conversation, state)
        if final or not (state["text"] or state["ahead"]):
            self._timers.clear(place, conversation)
        else:
            self._timers.start(place, conversation, asyncio.get_running_loop().time())

    def _cut(self, state: dict[str, Any], *, final: bool) -> list[list[Any]]:
        """Take the whole sentences off the front of the text."""
        text: str = state["text"]
        limit = self._options.max_chars
        sentences: list[list[Any]] = []
        while True:
            end = _END.search(text)
            if end is not None and end.end() <= limit:
                at = end.end()
            elif len(text) > limit:
                at = limit
            else:
                break
            piece, text = text[:at], text[at:]
            if piece.strip():
                last = final and not text.strip()
                sentences.append(self._judged(state, piece, partial=False, final=last))
        if final and text.strip():
            sentences.append(self._judged(state, text, partial=False, final=True))
            text = ""
        state["text"] = text.lstrip() if not text.strip() else text
        return sentences

    def _judged(self, state: dict[str, Any], text: str, *, partial: bool, final: bool) -> list[Any]:
        """A sentence after moderation, as the state remembers it."""
        verdict = self._moderator.judge(text.strip())
        number = state["sentence"]
        state["sentence"] = number + 1
        return [number, verdict.text, partial, final, list(verdict.flags)]

    def _published(self, conversation: str, sentences: list[list[Any]]) -> list[Result]:
        return [
            Result(
                {
                    "conversation": conversation,
                    "sentence": number,
                    "text": text,
                    "partial": partial,
                    "final": final,
                    "flags": flags,
                },
                key=conversation,
            )
            for number, text, partial, final, flags in sentences
        ]


def _take_ready(state: dict[str, Any]) -> bool:
    """Append the deltas whose turn it is; true if the last one was among them."""
    ahead: dict[str, list[Any]] = state["ahead"]
    place: int = state["next"]
    pieces: list[str] = []
    final = False
    while (found := ahead.pop(str(place), None)) is not None:
        pieces.append(found[0])
        final = final or found[1]
        place += 1
    state["next"] = place
    state["text"] += "".join(pieces)
    return final

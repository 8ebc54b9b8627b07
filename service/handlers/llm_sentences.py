"""Token deltas of language models into whole, moderated sentences, in order per conversation.

Events are deltas (``{"conversation", "index", "delta", "done"?}``), out of order and some of them
twice; ``index`` counts them from 0.  A sentence goes out when its end is seen, when the
conversation is done, or when nothing has come for a while: then what there is goes out as a
partial one, marked as such.
"""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Self, TypeAlias

import structlog
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from service.errors import SchemaError
from service.events import Event, EventBatch, RecordBatch, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.due import Deadlines
from service.handlers.moderation import Moderator, Rule, load_hook
from service.handlers.results import TICK_AGAIN_RESULTS, PartitionResult
from service.handlers.sentences import Conversation, Cutter, Sentence, begin
from service.handlers.spec import handler
from service.state.keyed import KeyedState, Partition, Place

log = structlog.get_logger(__name__)

_Told: TypeAlias = list[Result] | dict[str, Any]
_Row: TypeAlias = tuple[int, str, int, str, Any]
_INDEXES: Final = frozenset((int,))  # exactly: true and false are none


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

    @model_validator(mode="after")
    def _remembered(self) -> Self:
        if self.ttl_s <= self.flush_after_s:
            raise ValueError(
                f"ttl_s of {self.ttl_s:g} would forget a conversation before its flush_after_s of "
                f"{self.flush_after_s:g}, with what it has not told"
            )
        return self


@handler("llm_sentences", options=LlmSentencesOptions, state=("conversations",))
class LlmSentences:
    """``{"conversation","sentence","text","partial","final","flags"}`` under its id.

    ``sentence`` counts from 0 without holes; a sentence that moderation drops is published with a
    ``null`` text, so that a reader sees that nothing is missing.
    The last one is ``final``; its text is empty if all was told before ``done`` came.
    """

    def __init__(self, options: LlmSentencesOptions) -> None:
        self._options = options
        self._conversations = fields.texts(options.conversation)
        self._indexes = fields.optionals(options.index)
        self._deltas = fields.optionals(options.delta)
        self._dones = fields.optionals(options.done)
        hook = None if options.hook is None else load_hook(options.hook)
        self._cutter = Cutter(
            Moderator(options.rules, hook),
            max_chars=options.max_chars,
            max_ahead=options.max_ahead,
        )
        self._deadlines = Deadlines(options.flush_after_s)
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state("conversations", ttl_s=self._options.ttl_s)

    async def assigned(self, topic: str, partition: int) -> None:
        """Start the deadlines of a restored partition's open sentences anew."""
        place = Partition(topic, partition)
        self._watch(place, self._state.items(place))

    async def revoked(self, topic: str, partition: int) -> None:
        """Somebody else watches these conversations now."""
        self._deadlines.forget(topic, partition)

    def __call__(self, event: Event) -> _Told | None:
        """The sentences that this delta completes."""
        ((_, name, index, delta, done),) = self._rows((event.index,), (event.data,))
        known: Conversation | None = self._state.get(event, name)
        conversation = begin() if known is None else known.copy()
        if index < conversation["next"]:
            return _told_before(name, conversation, event.batch, event.index)
        sentences = self._cutter.add(conversation, index, delta, done=done is True)
        if sentences is None:
            return None
        if sentences:
            conversation["last"] = [event.record_id, sentences]
        self._state.put(event, name, conversation)
        self._watch(event, ((name, conversation),))
        return _told(name, sentences, event.key) if sentences else None

    def handle_many(self, events: EventBatch, wanted: Sequence[int]) -> list[tuple[int, _Told]]:
        """:meth:`__call__` for a run of events; see :class:`service.handlers.bound.BoundHandler`.

        Raises:
            SchemaError: If one of them is no delta; then nothing has been changed.
            PermanentError: If one of them is too far ahead; the same.
        """
        batch = events.batch
        data: Sequence[Any] = events.data
        if len(wanted) != len(data):
            data = [data[index] for index in wanted]
        place = Partition(batch.topic, batch.partition)
        find, add = self._state.reader(place), self._cutter.add
        touched: dict[str, Conversation] = {}
        told: list[tuple[int, _Told]] = []
        for at, name, index, delta, done in self._rows(wanted, data):
            changed = touched.get(name)
            known: Conversation | None = find(name) if changed is None else changed
            if known is not None and index < known["next"]:
                again = _told_before(name, known, batch, at)
                if again is not None:
                    told.append((at, again))
                continue
            # A copy, so that what is remembered stays as it was if a later event fails.
            conversation = changed or (begin() if known is None else known.copy())
            sentences = add(conversation, index, delta, done=done is True)
            if sentences is None:
                continue
            touched[name] = conversation
            if sentences:
                conversation["last"] = [batch.record_id(at), sentences]
                told.append((at, _told(name, sentences, batch.records[at].key)))
        self._state.put_many(place, touched)
        self._watch(place, touched.items())
        return told

    def tick(self, now_s: float) -> list[Result]:
        """What silent conversations have said so far, as partial sentences; in parts if many."""
        results: list[Result] = []
        for place, name in self._deadlines.due(now_s, TICK_AGAIN_RESULTS):
            known: Conversation | None = self._state.get(place, name)
            if known is None:
                continue
            conversation = known.copy()
            try:
                sentences = self._cutter.flush(conversation)
            except Exception as exc:  # noqa: BLE001 -- the hook is not ours
                # The other conversations go on; this one keeps its text and is asked for again.
                log.warning("flush failed", conversation=name, error=repr(exc))
                self._deadlines.start(place, name, now_s)
                continue
            self._state.put(place, name, conversation)
            self._watch(place, ((name, conversation),))
            results.extend(
                PartitionResult(place, _value(name, sentence), key=name) for sentence in sentences
            )
        return results

    def _rows(self, wanted: Sequence[int], data: Sequence[Any]) -> "Iterator[_Row]":
        """What to add: index in the batch, conversation, index, delta, what says that it is done.

        Raises:
            SchemaError: If something is no delta.
        """
        names, indexes = self._conversations(data), self._indexes(data)
        if not _INDEXES.issuperset(map(type, indexes)) or min(indexes) < 0:
            raise SchemaError(self._options.index, "not a whole number from 0")
        deltas = self._deltas(data)
        if not all(map(_is_text, deltas)):
            raise SchemaError(self._options.delta, "missing or not text")
        return zip(wanted, names, indexes, deltas, self._dones(data), strict=True)

    def _watch(self, place: Place, conversations: Iterable[tuple[str, Conversation]]) -> None:
        """Start the deadlines of those that have more to say, and clear those of the others."""
        waiting: list[str] = []
        for name, conversation in conversations:
            if conversation["text"] or conversation["ahead"]:
                waiting.append(name)
            else:
                self._deadlines.clear(place, name)
        self._deadlines.start_many(place, waiting, asyncio.get_running_loop().time())


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _told_before(
    name: str, conversation: Conversation, batch: RecordBatch, at: int
) -> _Told | None:
    """The sentences of a delta that came before, if it is the last that had any.

    They may have been lost with the process that had them.
    """
    last = conversation["last"]
    if last is None or last[0] != batch.record_id(at):
        return None
    return _told(name, last[1], batch.records[at].key)


def _told(name: str, sentences: Sequence[Sentence], key: bytes | None) -> _Told:
    # A mapping goes out under the event's key, in a run with its neighbours, which is cheaper.
    if len(sentences) == 1 and key == name.encode("utf-8", "surrogatepass"):
        return _value(name, sentences[0])
    return [Result(_value(name, sentence), key=name) for sentence in sentences]


def _value(name: str, sentence: Sentence) -> dict[str, Any]:
    number, text, partial, final, flags = sentence
    return {
        "conversation": name,
        "sentence": number,
        "text": text,
        "partial": partial,
        "final": final,
        "flags": flags,
    }

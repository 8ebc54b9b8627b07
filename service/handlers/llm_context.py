"""The rolling context of each conversation, within a budget of tokens.

Events are messages (``{"conversation", "role", "content", "id"?}``); every one publishes the
whole context under the conversation's id, so the output belongs in a compacted topic and the
latest record of a key is what a model is given next.  Messages of the ``system`` role stay; of the
others the oldest leave first.
"""

from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field

from service.errors import SchemaError
from service.events import Event, Result
from service.handlers import fields
from service.handlers.context import HandlerContext
from service.handlers.spec import handler
from service.state.keyed import KeyedState

REMEMBERED_IDS: Final = 256
"""Message ids remembered per conversation to recognise duplicates."""


class LlmContextOptions(BaseModel):
    """Options of ``llm_context``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conversation: fields.Path = Field(default="conversation", description="Field of its id.")
    role: fields.Path = Field(default="role", description="Field of who speaks.")
    content: fields.Path = Field(default="content", description="Field of the text.")
    message_id: fields.Path = Field(
        default="id", description="Field of the message's id; its place in the topic if absent."
    )
    max_tokens: int = Field(default=4096, ge=1, description="Budget of a context.")
    chars_per_token: float = Field(
        default=4.0, gt=0, description="Estimate of a token's length; 4 suits English."
    )
    ttl_s: float = Field(default=86_400, gt=0, description="Forget a silent conversation after.")


@handler("llm_context", options=LlmContextOptions, state=("conversations",))
class LlmContext:
    """``{"conversation", "messages": [{"role","content"}…], "tokens", "dropped"}``.

    A message costs ``ceil(characters / chars_per_token)`` tokens.  The newest message always
    stays, cut at its front if it exceeds the budget by itself.
    """

    def __init__(self, options: LlmContextOptions) -> None:
        self._options = options
        self._conversation = fields.text(options.conversation)
        self._role = fields.text(options.role)
        self._content = fields.optional(options.content)
        self._message_id = fields.optional(options.message_id)
        self._state: KeyedState

    async def open(self, context: HandlerContext) -> None:
        """Get the state."""
        self._state = context.state("conversations", ttl_s=self._options.ttl_s)

    def __call__(self, event: Event) -> Result:
        """The conversation's context with this message; as it was, for a duplicate."""
        data = event.data
        conversation, role = self._conversation(data), self._role(data)
        content = self._content(data)
        if not isinstance(content, str):
            raise SchemaError(self._options.content, "missing or not text")
        known: dict[str, Any] | None = self._state.get(event, conversation)
        state: dict[str, Any] = known or {"messages": [], "ids": [], "dropped": 0}
        message_id = self._message_id(data)
        if message_id is None:
            message_id = f"{event.partition}/{event.record_id}"
        if message_id not in state["ids"]:
            kept, dropped = self._fit([*state["messages"], {"role": role, "content": content}])
            state = {
                "messages": kept,
                "ids": [*state["ids"], message_id][-REMEMBERED_IDS:],
                "dropped": state["dropped"] + dropped,
            }
            self._state.put(event, conversation, state)
        context = {
            "conversation": conversation,
            "messages": state["messages"],
            "tokens": sum(map(self._tokens, state["messages"])),
            "dropped": state["dropped"],
        }
        return Result(context, key=conversation)

    def _tokens(self, message: dict[str, Any]) -> int:
        return max(1, -int(-len(message["content"]) // self._options.chars_per_token))

    def _fit(self, messages: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], int]:
        """The messages that fit the budget, and how many had to leave."""
        budget = self._options.max_tokens
        newest = messages[-1]
        if self._tokens(newest) > budget:
            keep = int(budget * self._options.chars_per_token)
            newest = {**newest, "content": newest["content"][-keep:]}
        used = self._tokens(newest)
        kept = [newest]
        older = messages[:-1]
        pinned: set[int] = set()
        for place, message in enumerate(older):
            if message["role"] == "system" and used + self._tokens(message) <= budget:
                used += self._tokens(message)
                pinned.add(place)
        recent: set[int] = set()
        for place in range(len(older) - 1, -1, -1):
            if place in pinned:
                continue
            cost = self._tokens(older[place])
            if used + cost > budget:
                break  # not the next smaller one: a context with holes misleads a model
            used += cost
            recent.add(place)
        kept = [older[place] for place in sorted(pinned | recent)] + kept
        return kept, len(messages) - len(kept)
